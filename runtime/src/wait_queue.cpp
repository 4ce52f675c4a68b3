// SPDX-License-Identifier: BSL-1.0
#include <chainring/trap.hpp>
#include <chainring/wait_queue.hpp>

#include <thread>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

QueuedWait::QueuedWait(WaitQueue& queue, WaitKind kind) noexcept : queue_(queue) {
    waits_in = kind;
    cancel = end_early;
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
    while (QueuedWait* wait = take()) wait->wake();
}

}  // namespace detail
CHAINRING_END_NAMESPACE
