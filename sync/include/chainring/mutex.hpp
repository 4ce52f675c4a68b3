// SPDX-License-Identifier: BSL-1.0
// Mutex: one task at a time. lock() yields a Guard that unlocks when it is destroyed; it may be held over a co_await.
//
// - Completes when the lock is the caller's; yields Result<Mutex::Guard>, or Errc::timed_out or Errc::cancelled. A
// limit
//   in the past takes a lock that is free; a task that was cancelled takes none.
// - First in, first out: unlock hands the lock to the oldest waiter, which resumes on its worker through the run queue.
//   A waiter that is cancelled or times out is passed over; one that was handed the lock gets it, whatever comes later.
// - Threads: lock from tasks, on any worker; try_lock from any thread; a Guard may be destroyed on any thread. Not
//   recursive: a task that locks twice waits for itself.
// - The Mutex must outlive its Guards and waiters; whoever unlocks it last may then destroy it. Waiting allocates
// nothing.
// - It knows the task that it was given to last, for reports; moving the Guard to another task does not change that.
//
//     auto guard = co_await mutex.lock();
//     if (guard) ++shared;
#pragma once

#include <chainring/config.hpp>
#include <chainring/mutex_core.hpp>
#include <chainring/result.hpp>
#include <chainring/wait_queue.hpp>

#include <utility>

CHAINRING_BEGIN_NAMESPACE

class Mutex {
public:
    Mutex() noexcept = default;

    class [[nodiscard]] Guard {
    public:
        Guard() noexcept = default;
        Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
        Guard& operator=(Guard&& other) noexcept {
            if (this != &other) {
                unlock();
                mutex_ = std::exchange(other.mutex_, nullptr);
            }
            return *this;
        }
        ~Guard() { unlock(); }
        // Unlocks now.
        void unlock() noexcept {
            if (Mutex* mutex = std::exchange(mutex_, nullptr)) mutex->unlock();
        }
        explicit operator bool() const noexcept { return mutex_ != nullptr; }

    private:
        friend class Mutex;
        explicit Guard(Mutex& mutex) noexcept : mutex_(&mutex) {}
        Mutex* mutex_ = nullptr;
    };

    class [[nodiscard]] Lock : detail::QueuedWait, public detail::Limited<Lock> {
        friend class detail::Limited<Lock>;
        friend class detail::Stoppable<Lock>;

    public:
        explicit Lock(Mutex& mutex) noexcept;
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            return start(handle.promise(), handle);
        }
        Result<Guard> await_resume() const noexcept {
            if (const std::error_code failed = error()) return failed;
            return Guard(mutex_);
        }

    private:
        bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
        Mutex& mutex_;
        detail::Limit limit_;
    };

    Lock lock() noexcept { return Lock(*this); }
    // An empty Guard when somebody has the lock or waits for it.
    Guard try_lock() noexcept;
    bool is_locked() const noexcept { return core_.is_locked(); }  // a snapshot

private:
    void unlock() noexcept;
    detail::MutexCore<detail::WaitQueue> core_;
};

CHAINRING_END_NAMESPACE
