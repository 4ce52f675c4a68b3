// SPDX-License-Identifier: BSL-1.0
// Semaphore: a number of permits. acquire() takes one, waiting for it if there is none; release() gives permits back.
//
// - Completes when a permit was taken; yields nothing, or Errc::timed_out or Errc::cancelled, and then none was taken.
//   A limit in the past takes a permit that is free; a task that was cancelled takes none.
// - First in, first out: while tasks wait, a later acquire or try_acquire does not overtake them.
// - The waiter resumes through a run queue, never inside release().
// - Threads: acquire from tasks; release, try_acquire and available from any thread. What was written before release()
//   is seen by whoever takes the permit. The Semaphore must outlive its waiters; who has a permit may then destroy it,
//   the release() that gave it need not have returned. Waiting allocates nothing.
//
//     Semaphore connections(100);
//     auto taken = co_await connections.acquire();
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/semaphore_core.hpp>
#include <chainring/wait_queue.hpp>

#include <cstddef>

CHAINRING_BEGIN_NAMESPACE

class Semaphore {
public:
    explicit Semaphore(std::size_t permits) noexcept : core_(permits) {}

    class [[nodiscard]] Acquire : detail::QueuedWait, public detail::Limited<Acquire> {
        friend class detail::Limited<Acquire>;
        friend class detail::Stoppable<Acquire>;

    public:
        explicit Acquire(Semaphore& semaphore) noexcept;
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            return start(handle.promise(), handle);
        }
        Result<void> await_resume() const noexcept { return error(); }

    private:
        bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
        Semaphore& semaphore_;
        detail::Limit limit_;
    };

    Acquire acquire() noexcept { return Acquire(*this); }
    bool try_acquire() noexcept;
    void release(std::size_t permits = 1) noexcept;
    std::size_t available() const noexcept;  // a snapshot

private:
    detail::SemaphoreCore<detail::WaitQueue> core_;
};

CHAINRING_END_NAMESPACE
