// SPDX-License-Identifier: BSL-1.0
// WaitQueue: the WaitList that suspended tasks wait in; what the primitives of sync share. Not for users.
//
// A primitive grants under the mutex: it takes the oldest waiters whose claims it wins, hands them what they wait for,
// and sends the wakes to their workers after unlocking; from then on the primitive may be gone. A waiter whose limit or
// cancel has won is passed over, so nothing is granted to it; one that was granted resumes with what it got, whatever
// comes later. Nothing is lost either way. The protocol itself is in wait_list.hpp.
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/time.hpp>
#include <chainring/wait_list.hpp>

#include <coroutine>
#include <mutex>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class WaitQueue;

// A wait in a WaitQueue. Lives in the frame of the coroutine that waits.
class QueuedWait : public RemoteWaiter, public WaitLinks<QueuedWait> {
public:
    explicit QueuedWait(WaitQueue& queue, WaitKind kind = WaitKind::other) noexcept;
    QueuedWait(const QueuedWait&) = delete;
    QueuedWait& operator=(const QueuedWait&) = delete;

    // What it waits in. For reports, on the waiter's worker, and for WaitKind::mutex only: a Mutex is there as long as
    // the task waits, for it is about to hold it. Others may be gone as soon as another thread has granted the wait.
    WaitQueue& queue() const noexcept { return queue_; }

protected:
    ~QueuedWait() = default;
    // With the queue's mutex held, when the wait cannot be granted at once: publishes it.
    void enqueue(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept;
    // For a wait that ends before it was published. Both return what await_suspend then does: false.
    bool grant_at_once() noexcept { return refuse(Wake::completed); }
    bool refuse(Wake why) noexcept {
        claim.settle(why);
        return false;
    }
    // The outcome of a wait that ended: none when it was granted.
    std::error_code error() const noexcept { return error_of(outcome()); }

    WaitQueue& queue_;

private:
    static void end_early(Waiter& waiter, Wake why) noexcept;
};

class WaitQueue : public WaitList<QueuedWait, std::mutex, TaskContext> {
public:
    using WaitList::WaitList;
    // Traps when a task still waits. Those who were let through may destroy the queue: a waiter that has just ended
    // early and takes itself off, on another worker, is waited for, a matter of a few instructions.
    ~WaitQueue();
};

// Waiters that were granted under the mutex, to be woken without it, in order.
class Granted : public GrantList<QueuedWait> {
public:
    // Any thread.
    void wake() noexcept;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
