// SPDX-License-Identifier: BSL-1.0
// dial(target): a connection to a name. Resolves it, and tries its addresses in turn, with a head start for each
// (Happy Eyeballs, RFC 8305).
//
// Targets: "example.org:443", and whatever Address::parse knows, or Addresses. A name is resolved as resolve() does,
// and its addresses are tried in that order, but IPv6 and IPv4 in turn. An address gets `head_start` before the next
// one is tried too, which begins at once when it fails; the first that connects wins, and the others are closed.
// Addresses that are given are tried in the order given.
//
// Completes when one has connected, or none can. Yields Result<Link>, at home on the worker where the call began; or
// the error of the first address, or of the name; Errc::timed_out; Errc::cancelled. `.within` and `.until` limit the
// whole. A success that raced the end is delivered.
//
// Retry: with options.retry, what failed is tried again after a pause, the name resolved anew, until it succeeds, fails
// for good (is_permanent), no attempt is left, or a limit or cancel ends it. A pause ends with Errc::shutting_down when
// the runtime drains.
//
// The target is copied. Memory: a few frames; throws std::bad_alloc.
//
//     auto link = co_await dial("example.org:443").within(10s);
//     auto patient = co_await dial("db:5432", DialOptions{.retry = RetryPolicy{}}).within(1min);
#pragma once

#include <chainring/address.hpp>
#include <chainring/backoff.hpp>
#include <chainring/config.hpp>
#include <chainring/link.hpp>
#include <chainring/result.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>

#include <chrono>
#include <coroutine>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

// Trivially copyable, so that it may be written inside a co_await expression.
struct DialOptions {
    Duration head_start = std::chrono::milliseconds(250);  // RFC 8305's Connection Attempt Delay
    RetryPolicy retry = no_retry;
};

namespace detail {

// Text to be resolved at each attempt, or addresses.
struct DialTarget {
    explicit DialTarget(std::string_view name) : text(name) {}
    explicit DialTarget(std::span<const Address> list) : addresses(list.begin(), list.end()) {}
    std::string text;
    std::vector<Address> addresses;
};

// One attempt: all addresses of the target.
Task<Result<Link>> dial_once(const DialTarget& target, Duration head_start);
// Pauses between attempts. Yields nothing, or why it ended early: cancelled, timed_out, shutting_down.
Task<Result<void>> pause_dialling(Duration duration);

}  // namespace detail

class [[nodiscard]] Dial {
public:
    Dial(detail::DialTarget target, const DialOptions& options) : task_(run(&limit_, std::move(target), options)) {}
    Dial(const Dial&) = delete;
    Dial& operator=(const Dial&) = delete;

    Dial&& within(Duration duration) && noexcept {
        limit_.within(duration);
        return static_cast<Dial&&>(*this);
    }
    Dial&& until(Instant instant) && noexcept {
        limit_.until(instant);
        return static_cast<Dial&&>(*this);
    }

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return awaiter_.emplace(std::move(task_).operator co_await()).await_suspend(handle);
    }
    Result<Link> await_resume() { return awaiter_->await_resume(); }

private:
    static Task<Result<Link>> run(const detail::Limit* limit, detail::DialTarget target, DialOptions options);

    detail::Limit limit_;
    Task<Result<Link>> task_;
    std::optional<Task<Result<Link>>::Awaiter> awaiter_;
};

inline Dial dial(std::string_view target, DialOptions options = {}) {
    return Dial(detail::DialTarget(target), options);
}
inline Dial dial(std::span<const Address> addresses, DialOptions options = {}) {
    return Dial(detail::DialTarget(addresses), options);
}
inline Dial dial(const Address& address, DialOptions options = {}) {
    return Dial(detail::DialTarget(std::span(&address, 1)), options);
}

CHAINRING_END_NAMESPACE
