// SPDX-License-Identifier: BSL-1.0
// Latch: counts down to zero once, and lets everyone who waits for that through.
//
// - wait() completes when the count is zero; yields nothing, or Errc::timed_out or Errc::cancelled.
// - wait_blocking() is for plain threads: on a worker it would stop everything, so it traps there.
// - count_down, count and try_wait from any thread. What was written before count_down() is seen after the wait.
// - A waiter may destroy the Latch once it is through. Waiting allocates nothing.
//
//     Latch ready(3);
//     (co_await ready.wait()).value();
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/wait_queue.hpp>

#include <condition_variable>
#include <cstddef>

CHAINRING_BEGIN_NAMESPACE

class Latch {
public:
    explicit Latch(std::size_t count) noexcept : count_(count) {}

    class [[nodiscard]] Wait : detail::QueuedWait, public detail::Limited<Wait> {
        friend class detail::Limited<Wait>;

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
    detail::WaitQueue queue_;
    std::condition_variable threads_;  // with the queue's mutex
    std::size_t count_;                // guarded by it
};

CHAINRING_END_NAMESPACE
