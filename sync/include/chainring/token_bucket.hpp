// SPDX-License-Identifier: BSL-1.0
// TokenBucket: a rate limit. Tokens come at `per_second`, up to `burst` of them are kept, and each byte, message or
// connection takes its share. What a token stands for is the user's choice.
//
// - take(n) completes when n tokens were taken; yields nothing, or Errc::timed_out or Errc::cancelled, and then none
//   was taken. A limit in the past takes tokens that are there; a task that was cancelled takes none. More than the
//   burst may be taken at once: it waits for a full bucket and leaves a debt, so that the rate holds all the same.
// - First in, first out: while tasks wait, a later take or try_take does not overtake them, however few it asks for.
// - try_take(n) does not wait. charge(n) takes at once, into debt if need be: for what has already happened.
// - The waiter resumes through a run queue. Only the first in line has a timer; waiting allocates nothing.
// - Time is that of the runtime (its ManualClock, if it has one). Integer arithmetic: over any stretch of time, no more
//   than the burst and what came in it are taken, and no fraction is lost.
// - Threads: take from tasks, on any workers; the others from any thread. The bucket must outlive its waiters. It does
//   not allocate.
//
//     TokenBucket bytes(10'000'000 / 8, 65536);      // 10 Mbit/s
//     auto paid = co_await bytes.take(chunk->size());
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/time.hpp>
#include <chainring/token_core.hpp>
#include <chainring/wait_list.hpp>

#include <coroutine>
#include <cstdint>
#include <mutex>

CHAINRING_BEGIN_NAMESPACE

class TokenBucket;

// A rate in numbers, for options: `per_second` 0 is no limit. See TokenBucket for both.
struct Rate {
    std::uint64_t per_second = 0;
    std::uint64_t burst = 0;
};

namespace detail {

// A wait for tokens; see token_bucket.cpp. Lives in the frame of the coroutine that waits.
class TokenWait : public TimedWaiter, public WaitLinks<TokenWait> {
public:
    TokenWait(const TokenWait&) = delete;
    TokenWait& operator=(const TokenWait&) = delete;

protected:
    TokenWait(TokenBucket& bucket, std::uint64_t tokens) noexcept;
    ~TokenWait() = default;
    bool start(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept;
    std::error_code error() const noexcept { return error_of(outcome()); }

private:
    friend class chainring::TokenBucket;
    template <class List>
    friend class TokenCore;
    struct TurnNode : InboxNode {
        TokenWait* wait = nullptr;
    };
    static void end_early(Waiter& waiter, Wake why) noexcept;
    void on_turn() noexcept;

    // For TokenCore.
    std::uint64_t tokens;
    Instant end = Instant::max();  // its limit, or its task's deadline
    bool paid = false;             // granted with its tokens; guarded by the bucket's mutex until then
    bool has_turn = false;         // it is the bucket's first, and contends again; its own worker's

    TokenBucket& bucket_;
    TurnNode turn_node_;  // brings the grant, or the turn, to the waiter's worker, which owns its timer
};

}  // namespace detail

class TokenBucket {
public:
    // `per_second`: 1 to 2^40. `burst`: up to 2^32; 0: what comes in a tenth of a second, at least one. It begins full.
    explicit TokenBucket(std::uint64_t per_second, std::uint64_t burst = 0) noexcept;
    explicit TokenBucket(Rate rate) noexcept : TokenBucket(rate.per_second, rate.burst) {}
    TokenBucket(const TokenBucket&) = delete;
    TokenBucket& operator=(const TokenBucket&) = delete;
    ~TokenBucket();  // traps when a task still waits

    class [[nodiscard]] Take : detail::TokenWait, public detail::Limited<Take> {
        friend class detail::Limited<Take>;
        friend class detail::Stoppable<Take>;

    public:
        Take(TokenBucket& bucket, std::uint64_t count) noexcept : TokenWait(bucket, count) {}
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            return start(handle.promise(), handle, limit_);
        }
        Result<void> await_resume() const noexcept { return error(); }

    private:
        detail::Limit limit_;
    };

    Take take(std::uint64_t tokens = 1) noexcept { return Take(*this, tokens); }
    bool try_take(std::uint64_t tokens = 1) noexcept;
    void charge(std::uint64_t tokens) noexcept;

    // How long it will be until `tokens` are there, if nobody takes any before; 0: they are. Those who wait are not
    // counted.
    Duration time_until(std::uint64_t tokens = 1) noexcept;
    std::uint64_t available() noexcept;  // a snapshot
    // Full, and nobody waits: as good as new.
    bool idle() noexcept;

private:
    friend class detail::TokenWait;
    using Core = detail::TokenCore<detail::WaitList<detail::TokenWait, std::mutex, detail::TaskContext>>;
    static void wake(Core::Grants& granted) noexcept;

    Core core_;
};

CHAINRING_END_NAMESPACE
