// SPDX-License-Identifier: BSL-1.0
// Mutex: one task at a time. lock() yields a Guard that unlocks when it is destroyed; it may be held over a co_await.
//
// - Completes when the lock is the caller's; yields Result<Mutex::Guard>, or Errc::timed_out or Errc::cancelled. A
// limit
//   in the past takes a lock that is free.
// - First in, first out: unlock hands the lock to the oldest waiter, which resumes on its worker through the run queue.
//   A waiter that is cancelled or times out is passed over; one that was handed the lock gets it, whatever comes later.
// - Threads: lock from tasks, on any worker; try_lock from any thread; a Guard may be destroyed on any thread. Not
//   recursive: a task that locks twice waits for itself.
// - The Mutex must outlive its Guards and waiters. Waiting allocates nothing.
//
//     auto guard = co_await mutex.lock();
//     if (guard) ++shared;
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/semaphore.hpp>

#include <utility>

CHAINRING_BEGIN_NAMESPACE

class Mutex {
public:
    Mutex() noexcept : permit_(1) {}

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
            if (Mutex* mutex = std::exchange(mutex_, nullptr)) mutex->permit_.release();
        }
        explicit operator bool() const noexcept { return mutex_ != nullptr; }

    private:
        friend class Mutex;
        explicit Guard(Mutex& mutex) noexcept : mutex_(&mutex) {}
        Mutex* mutex_ = nullptr;
    };

    class [[nodiscard]] Lock : Semaphore::Acquire, public detail::Limited<Lock> {
        friend class detail::Limited<Lock>;

    public:
        explicit Lock(Mutex& mutex) noexcept : Acquire(mutex.permit_), mutex_(mutex) {}
        using detail::Limited<Lock>::within;
        using detail::Limited<Lock>::until;
        using Acquire::await_ready;
        using Acquire::await_suspend;
        Result<Guard> await_resume() const noexcept {
            const Result<void> taken = Acquire::await_resume();
            if (!taken) return taken.error();
            return Guard(mutex_);
        }

    private:
        Mutex& mutex_;
    };

    Lock lock() noexcept { return Lock(*this); }
    // An empty Guard when somebody has the lock or waits for it.
    Guard try_lock() noexcept { return permit_.try_acquire() ? Guard(*this) : Guard(); }
    bool is_locked() const noexcept { return permit_.available() == 0; }  // a snapshot

private:
    Semaphore permit_;
};

CHAINRING_END_NAMESPACE
