// SPDX-License-Identifier: BSL-1.0
// Latch: counts down to zero once, and lets everyone who waits for that through.
//
// - wait() completes when the count is zero; yields nothing, or Errc::timed_out or Errc::cancelled.
// - wait_blocking() is for plain threads: on a worker it would stop everything, so it traps there.
// - count_down, count and try_wait from any thread. What was written before count_down() is seen after the wait.
// - A wait for a latch that is at zero succeeds, also in a task that was cancelled.
// - The Latch must outlive its waiters; the last who is through may destroy it, count_down() need not have returned.
//   Waiting allocates nothing.
//
//     Latch ready(3);
//     (co_await ready.wait()).value();
#pragma once

#include <chainring/config.hpp>
#include <chainring/latch_core.hpp>
#include <chainring/result.hpp>
#include <chainring/wait_queue.hpp>

#include <cstddef>

CHAINRING_BEGIN_NAMESPACE

class Latch {
public:
    explicit Latch(std::size_t count) noexcept : core_(count) {}

    class [[nodiscard]] Wait : detail::QueuedWait, public detail::Limited<Wait> {
        friend class detail::Limited<Wait>;
        friend class detail::Stoppable<Wait>;

    public:
        explicit Wait(Latch& latch) noexcept;
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            return start(handle.promise(), handle);
        }
        Result<void> await_resume() const noexcept { return error(); }

    private:
        bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
        Latch& latch_;
        detail::Limit limit_;
    };

    Wait wait() noexcept { return Wait(*this); }
    void wait_blocking();
    bool try_wait() const noexcept { return count() == 0; }
    // By at most what is left; more traps.
    void count_down(std::size_t by = 1) noexcept;
    std::size_t count() const noexcept;

private:
    detail::LatchCore<detail::WaitQueue> core_;
};

CHAINRING_END_NAMESPACE
