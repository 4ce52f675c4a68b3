// SPDX-License-Identifier: BSL-1.0
// ReconnectingLink: a client's connection that comes back. run(session, args...) dials the target and runs
// session(Link, args...) with the connection; when the session has ended, it pauses, dials again, and runs the next
// one.
//
// - session returns a Task<AfterSession>, and decides whether it was the last; or a Task<>, after which there is always
//   a next one. It has the Link to itself, and should return when that has ended. It closes the Link, should the end of
//   what it sent matter: a Link that is dropped is reset.
// - The pauses are those of options.retry, jitter included. They grow while the target cannot be reached, and while
//   sessions are short (retry.lasting); after one that lasted the next pause is the first one again. A name is resolved
//   anew each time.
// - run() completes with a value when a session says `stop`; else with the error that ended it: Errc::cancelled,
//   Errc::timed_out (a Deadline of the caller), Errc::shutting_down (the runtime drains), the last error
//   (ECONNABORTED after a session) when retry.attempts in a row have failed or were short; or one that is permanent
//   (is_permanent), unless there has been a connection before: then it was right once, and may be again. An exception
//   of a session ends it, and is rethrown.
// - An attempt has no limit but the kernel's (some two minutes for a peer that is silent) unless options.attempt_limit
//   sets one.
// - session must be trivially destructible (a function, a lambda without captures); args are copied for each.
//
// One run() at a time. The object must outlive it.
//
//     Task<> talk(Link link, Channel<std::string>* lines);
//     ReconnectingLink uplink("collector:5170");
//     (co_await uplink.run(talk, &lines)).value();
#pragma once

#include <chainring/address.hpp>
#include <chainring/backoff.hpp>
#include <chainring/config.hpp>
#include <chainring/dial.hpp>
#include <chainring/link.hpp>
#include <chainring/result.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

enum class AfterSession : std::uint8_t {
    reconnect,
    stop,
};

struct ReconnectOptions {
    Duration head_start = DialOptions{}.head_start;
    RetryPolicy retry{};
    Duration attempt_limit = Duration::max();  // of each attempt, all addresses of the name included
};

class ReconnectingLink {
public:
    // Throws std::bad_alloc.
    explicit ReconnectingLink(std::string_view target, ReconnectOptions options = {});
    explicit ReconnectingLink(std::span<const Address> addresses, ReconnectOptions options = {});
    explicit ReconnectingLink(const Address& address, ReconnectOptions options = {});
    ReconnectingLink(const ReconnectingLink&) = delete;
    ReconnectingLink& operator=(const ReconnectingLink&) = delete;

    template <class Fn, class... Args>
    Task<Result<void>> run(Fn session, Args... args) {
        static_assert(std::is_trivially_destructible_v<Fn>,
                      "run takes a function or a lambda without owning captures; pass state as further arguments");
        static_assert(std::is_invocable_r_v<Task<>, Fn, Link, Args&...> ||
                          std::is_invocable_r_v<Task<AfterSession>, Fn, Link, Args&...>,
                      "run takes a callable that returns Task<> or Task<AfterSession> for (Link, args...)");
        for (;;) {
            auto link = co_await connect();
            if (!link) co_return link.error();
            auto running = std::invoke(session, std::move(*link), args...);
            AfterSession after = AfterSession::reconnect;
            if constexpr (std::is_same_v<decltype(running), Task<>>)
                co_await std::move(running);
            else
                after = co_await std::move(running);
            if (after == AfterSession::stop) co_return Result<void>();
        }
    }

private:
    ReconnectingLink(detail::DialTarget target, const ReconnectOptions& options);
    // Pauses, unless it is the first time, and dials until it has a connection, or an end.
    Task<Result<Link>> connect();
    Task<Result<Link>> attempt();

    detail::DialTarget target_;
    ReconnectOptions options_;
    Backoff backoff_;
    bool was_connected_ = false;
    Instant connected_at_{};
};

CHAINRING_END_NAMESPACE
