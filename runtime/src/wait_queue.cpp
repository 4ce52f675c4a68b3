// SPDX-License-Identifier: BSL-1.0
#include <chainring/trap.hpp>
#include <chainring/wait_queue.hpp>

#include "runtime/src/worker.hpp"

#include <thread>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

QueuedWait::QueuedWait(WaitQueue& queue, WaitKind kind) noexcept : queue_(queue) {
    waits_in = kind;
    cancel = end_early;
    wake_node_.wait = this;
    wake_node_.run = [](InboxNode& node) noexcept { static_cast<WakeNode&>(node).wait->finish(); };
}

void QueuedWait::enqueue(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept {
    begin(node, handle, limit);
    queue_.push(*this);
}

// On the task's worker.
void QueuedWait::end_early(Waiter& waiter, Wake why) noexcept {
    auto& self = static_cast<QueuedWait&>(waiter);
    if (!self.try_claim(why)) return;  // granted: the wake is on its way, and the queue may be gone
    self.queue_.leave(self);
    self.finish();
}

WaitQueue::~WaitQueue() {
    {
        const std::lock_guard lock(mutex());
        CHAINRING_REQUIRE(empty(), "a primitive of sync was destroyed while a task waits for it");
    }
    while (!gone_quiet()) std::this_thread::yield();
}

void Granted::wake() noexcept {
    Worker* const here = Worker::current();
    while (QueuedWait* wait = take()) {
        Worker& worker = *wait->task->worker();
        if (&worker == here)
            wait->finish();  // to its run queue
        else
            worker.post(wait->wake_node_);
        // From here on the waiter may be gone.
    }
}

}  // namespace detail
CHAINRING_END_NAMESPACE
