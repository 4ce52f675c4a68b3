// SPDX-License-Identifier: BSL-1.0
#include <chainring/trap.hpp>
#include <chainring/wait_queue.hpp>

#include "runtime/src/runtime_state.hpp"
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
        // Here: to its run queue. A report may be reading it, when the task that wakes it has held this worker for
        // long.
        if (&worker == here && !worker.runtime().safepoint.wanted())
            wait->finish();
        else
            worker.post(wait->wake_node_);
        // From here on the waiter may be gone.
    }
}

}  // namespace detail
CHAINRING_END_NAMESPACE
