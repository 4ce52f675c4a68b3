// SPDX-License-Identifier: BSL-1.0
// Heartbeat: finds out in bounded time that a peer is gone which no longer says so: its machine, its network or the
// program itself has stopped. It pings at an interval that grows while all is well, and shrinks while nothing is heard.
//
// Everything that is received counts as a sign of life; whoever receives calls heard(). A peer that stops is found dead
// after less than 3 * longest + misses * shortest. One whose answers come within misses * shortest never is, whatever
// their delay does.
//
//     Heartbeat heart;
//     Scope scope;
//     scope.spawn([](Link* to, Heartbeat* of) -> Task<> { (void)co_await of->watch(*to, to->outbox(),
//     Payload("PING\n"));
//                 }, &link, &heart);
//     while (auto line = co_await link.recv_until("\n", 1024)) {
//         heart.heard();
//         ...
//     }
//     scope.cancel();
//     co_await scope.join();
//
// Pings go through an Outbox: they wait for nothing, also where the peer takes nothing any more.
#pragma once

#include <chainring/config.hpp>
#include <chainring/errc.hpp>
#include <chainring/link.hpp>
#include <chainring/outbox.hpp>
#include <chainring/payload.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <system_error>
#include <type_traits>

CHAINRING_BEGIN_NAMESPACE

struct HeartbeatOptions {
    Duration shortest = std::chrono::seconds(1);  // between two pings; the first interval
    Duration longest = std::chrono::seconds(30);
    unsigned misses = 3;  // intervals in a row in which nothing was heard: the peer is dead
};

// The arithmetic of a Heartbeat alone: when to look next, and what to make of it. One thread at a time.
class HeartbeatPace {
public:
    // Traps unless 0 < shortest <= longest and misses > 0.
    explicit HeartbeatPace(const HeartbeatOptions& options) noexcept;
    Duration interval() const noexcept { return interval_; }  // until the next beat
    // At the end of each interval: whether anything was heard in it. False: the peer is dead.
    bool beat(bool heard) noexcept;
    unsigned missed() const noexcept { return missed_; }  // beats in a row

private:
    HeartbeatOptions options_;
    Duration interval_;
    unsigned missed_ = 0;
};

class Heartbeat {
public:
    explicit Heartbeat(HeartbeatOptions options = {}) noexcept : options_(options) {}
    Heartbeat(const Heartbeat&) = delete;
    Heartbeat& operator=(const Heartbeat&) = delete;

    // The peer lives: something was received. Any thread; costs a store.
    void heard() noexcept { heard_.store(true, std::memory_order_relaxed); }

    // Pings through `outbox`, one of `link`'s, until it is cancelled, the Link ends or the peer is dead: then it aborts
    // the Link. Yields why it ended: Errc::timed_out (dead), cancelled, closed, or overloaded (the Outbox is full, and
    // the Link being reset). The Heartbeat and the Link must live until then.
    Task<std::error_code> watch(Link& link, Outbox outbox, Payload ping);
    // The same where each ping is another: make(args...) returns it as a Payload. `make` must be trivially destructible
    // (a function, a lambda without captures).
    template <class Make, class... Args>
    requires std::is_invocable_r_v<Payload, Make, Args&...> Task<std::error_code> watch(Link& link, Outbox outbox,
                                                                                        Make make, Args... args) {
        static_assert(std::is_trivially_destructible_v<Make>,
                      "watch takes a function or a lambda without owning captures; pass state as further arguments");
        HeartbeatPace pace(options_);
        heard_.store(false, std::memory_order_relaxed);
        for (;;) {
            const Posted posted = outbox.post(std::invoke(make, args...));
            // Full, or older messages dropped for it: the peer is slow, or gone, which the silence tells.
            if (posted == Posted::closed || posted == Posted::overflow)
                co_return make_error_code(posted == Posted::closed ? Errc::closed : Errc::overloaded);
            const bool slept = co_await sleep_for(pace.interval());
            if (!slept) co_return make_error_code(Errc::cancelled);
            if (pace.beat(heard_.exchange(false, std::memory_order_relaxed))) continue;
            link.abort();
            co_return make_error_code(Errc::timed_out);
        }
    }

private:
    HeartbeatOptions options_;
    std::atomic<bool> heard_{false};  // set by whoever receives, taken by watch(); it publishes nothing else
};

CHAINRING_END_NAMESPACE
