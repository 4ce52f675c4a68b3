// SPDX-License-Identifier: BSL-1.0
// Backoff: the pauses between attempts at something that fails: each longer than the one before, up to a bound, and
// shortened at random, so that those who failed together do not come back together (jitter).
//
//     Backoff backoff(RetryPolicy{});
//     while (!co_await attempt()) {
//         const auto pause = backoff.next();
//         if (!pause) break;                      // no attempt is left
//         co_await sleep_for(*pause);
//     }
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include <chrono>
#include <optional>
#include <system_error>

CHAINRING_BEGIN_NAMESPACE

// Trivially copyable, so that it may be written inside a co_await expression.
struct RetryPolicy {
    Duration first = std::chrono::milliseconds(500);
    double factor = 2;  // from one pause to the next
    Duration most = std::chrono::seconds(30);
    double jitter = 0.5;    // each pause is shortened by a random part of it, up to this one (0 to 1)
    unsigned attempts = 0;  // in all; 0: any number, until a deadline or a cancel
    // ReconnectingLink: a connection that has lasted this long is a success: the next pause is the first one again.
    Duration lasting = std::chrono::seconds(5);
};

inline constexpr RetryPolicy no_retry{.attempts = 1};

class Backoff {
public:
    explicit Backoff(const RetryPolicy& policy) noexcept : policy_(policy), pause_(policy.first) {}
    // After an attempt that has failed: how long to wait before the next one; nothing when it was the last one.
    std::optional<Duration> next() noexcept;
    // After a success.
    void reset() noexcept;

private:
    RetryPolicy policy_;
    Duration pause_;  // the next one, before the jitter
    unsigned failed_ = 0;
};

// Whether an attempt to connect that ended with this error would end so again: the caller may not connect there
// (EACCES, EPERM), this system cannot (EAFNOSUPPORT, EPROTONOSUPPORT, EPROTOTYPE), the address is wrong (EINVAL,
// ENOTSOCK, Errc::invalid_address), the name does not exist (ResolveErrc::not_found); or the attempt was ended (any
// Errc: cancelled, timed_out, shutting_down). Not permanent: what may pass, as ECONNREFUSED, ENOENT (a server that is
// not up yet), ENETUNREACH, EADDRNOTAVAIL (no local port is free), EMFILE.
bool is_permanent(std::error_code error) noexcept;

CHAINRING_END_NAMESPACE
