// SPDX-License-Identifier: BSL-1.0
// What the primitives of sync share: a first-in-first-out queue of suspended tasks, intrusive, guarded by one mutex
// that is held for a few stores. Not for users.
//
// A primitive grants under the mutex: it takes the oldest waiters whose claims it wins, hands them what they wait for,
// and sends the wakes to their workers after unlocking; from then on the primitive may be gone. A waiter whose limit or
// cancel has won is passed over, so nothing is granted to it; one that was granted resumes with what it got, whatever
// comes later. Nothing is lost either way.
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/time.hpp>

#include <coroutine>
#include <mutex>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class WaitQueue;
class Granted;

// A wait in a WaitQueue. Lives in the frame of the coroutine that waits.
class QueuedWait : public TimedWaiter {
public:
    explicit QueuedWait(WaitQueue& queue) noexcept;
    QueuedWait(const QueuedWait&) = delete;
    QueuedWait& operator=(const QueuedWait&) = delete;

protected:
    friend class WaitQueue;
    friend class Granted;
    ~QueuedWait() = default;
    // With the queue's mutex held, when the wait cannot be granted at once: publishes it.
    void enqueue(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept;
    // The outcome of a wait that ended: none when it was granted.
    std::error_code error() const noexcept;
    void grant_at_once() noexcept { claim.settle(Wake::completed); }
    void refuse(Wake why) noexcept { claim.settle(why); }

    WaitQueue& queue_;

private:
    struct WakeNode : InboxNode {
        QueuedWait* wait = nullptr;
    };
    static void end_early(Waiter& waiter, Wake why) noexcept;
    QueuedWait* next_ = nullptr;  // the queue's list, guarded by its mutex
    QueuedWait* previous_ = nullptr;
    bool listed_ = false;
    WakeNode wake_node_;  // brings the wake to the waiter's worker, which owns its timer
};

class WaitQueue {
public:
    WaitQueue() noexcept : mutex_(own_mutex_) {}
    // Shares a mutex with another queue of the same primitive, which outlives it.
    explicit WaitQueue(std::mutex& shared) noexcept : mutex_(shared) {}
    WaitQueue(const WaitQueue&) = delete;
    WaitQueue& operator=(const WaitQueue&) = delete;
    ~WaitQueue();  // traps when a task still waits

    std::mutex& mutex() const noexcept { return mutex_; }

    // With the mutex held:
    bool empty() const noexcept { return first_ == nullptr; }
    QueuedWait* front() const noexcept { return first_; }
    // Takes the oldest waiter whose claim is won; null when there is none. It is to be given what it waits for, or,
    // with Wake::closed, nothing, and woken.
    QueuedWait* grant(Wake why = Wake::completed) noexcept;

private:
    friend class QueuedWait;
    void push(QueuedWait& wait) noexcept;
    void unlist(QueuedWait& wait) noexcept;

    std::mutex own_mutex_;
    std::mutex& mutex_;
    QueuedWait* first_ = nullptr;
    QueuedWait* last_ = nullptr;
};

// Waiters that were granted under the mutex, to be woken without it, in order.
class Granted {
public:
    void add(QueuedWait& wait) noexcept {
        wait.next_ = nullptr;
        (last_ ? last_->next_ : first_) = &wait;
        last_ = &wait;
    }
    // Any thread. From a waiter's claim on only its wake touches it, so it stays valid until that has run.
    void wake() noexcept;

private:
    QueuedWait* first_ = nullptr;
    QueuedWait* last_ = nullptr;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
