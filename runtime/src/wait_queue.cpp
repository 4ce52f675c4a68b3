// SPDX-License-Identifier: BSL-1.0
#include <chainring/trap.hpp>
#include <chainring/wait_queue.hpp>

#include "runtime/src/worker.hpp"

#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

QueuedWait::QueuedWait(WaitQueue& queue) noexcept : queue_(queue) {
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
    if (!self.try_claim(why)) return;  // granted: the wake is on its way
    {
        const std::lock_guard lock(self.queue_.mutex_);
        self.queue_.unlist(self);
    }
    self.finish();
}

std::error_code QueuedWait::error() const noexcept {
    return error_of(outcome());
}

WaitQueue::~WaitQueue() {
    CHAINRING_REQUIRE(!first_, "a primitive of sync was destroyed while a task waits for it");
}

void WaitQueue::push(QueuedWait& wait) noexcept {
    wait.listed_ = true;
    wait.next_ = nullptr;
    wait.previous_ = last_;
    (last_ ? last_->next_ : first_) = &wait;
    last_ = &wait;
}

void WaitQueue::unlist(QueuedWait& wait) noexcept {
    if (!std::exchange(wait.listed_, false)) return;
    (wait.previous_ ? wait.previous_->next_ : first_) = wait.next_;
    (wait.next_ ? wait.next_->previous_ : last_) = wait.previous_;
}

QueuedWait* WaitQueue::grant(Wake why) noexcept {
    while (QueuedWait* wait = first_) {
        unlist(*wait);
        if (wait->try_claim(why)) return wait;
    }
    return nullptr;
}

void Granted::wake() noexcept {
    while (first_) {
        QueuedWait& wait = *first_;
        first_ = wait.next_;  // before the wake: after it the waiter is gone
        wait.task->worker->post(wait.wake_node_);
    }
    last_ = nullptr;
}

}  // namespace detail
CHAINRING_END_NAMESPACE
