// SPDX-License-Identifier: BSL-1.0
#include <chainring/event.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/worker.hpp"

#include <utility>

CHAINRING_BEGIN_NAMESPACE

Event::~Event() {
    CHAINRING_REQUIRE(!first_, "an Event was destroyed while a task waits for it");
}

bool Event::is_set() const noexcept {
    const std::lock_guard lock(mutex_);
    return set_;
}

void Event::reset() noexcept {
    const std::lock_guard lock(mutex_);
    set_ = false;
}

// Each waiter is claimed and taken off the list under the mutex; the wake then travels to its worker. From the claim on
// only that wake touches the waiter, so it stays valid until the node has run.
void Event::set() noexcept {
    Wait* woken = nullptr;
    {
        const std::lock_guard lock(mutex_);
        set_ = true;
        woken = std::exchange(first_, nullptr);
        last_ = nullptr;
        Wait** at = &woken;
        while (Wait* wait = *at) {
            wait->listed_ = false;
            if (wait->try_claim(detail::Wake::completed))
                at = &wait->next_;
            else
                *at = wait->next_;  // its limit or a cancel has won
        }
    }
    while (woken) {
        Wait& wait = *woken;
        woken = wait.next_;
        wait.task->worker->post(wait.wake_node_);
    }
}

void Event::unlist(Wait& wait) noexcept {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(wait.listed_, false)) return;
    (wait.previous_ ? wait.previous_->next_ : first_) = wait.next_;
    (wait.next_ ? wait.next_->previous_ : last_) = wait.previous_;
}

Event::Wait::Wait(Event& event) noexcept : event_(event) {
    waits_in = detail::WaitKind::event;
    cancel = end_early;
    wake_node_.wait = this;
    wake_node_.run = [](detail::InboxNode& node) noexcept { static_cast<WakeNode&>(node).wait->finish(); };
}

bool Event::Wait::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (node.context->cancelled) {
        claim.store(event_.is_set() ? detail::Wake::completed : detail::Wake::cancelled, std::memory_order_relaxed);
        return false;
    }
    begin(node, handle, limit_);
    const std::lock_guard lock(event_.mutex_);
    if (event_.set_) {
        claim.store(detail::Wake::completed, std::memory_order_relaxed);
        task->waiter = nullptr;
        task->worker->timers().cancel(*this);
        return false;
    }
    previous_ = event_.last_;
    (event_.last_ ? event_.last_->next_ : event_.first_) = this;
    event_.last_ = this;
    listed_ = true;
    return true;
}

void Event::Wait::end_early(detail::Waiter& waiter, detail::Wake why) noexcept {
    auto& self = static_cast<Wait&>(waiter);
    if (!self.try_claim(why)) return;
    self.event_.unlist(self);
    self.finish();
}

Result<void> Event::Wait::await_resume() const noexcept {
    switch (outcome()) {
        case detail::Wake::completed:
            return {};
        case detail::Wake::timed_out:
            return Errc::timed_out;
        default:
            return Errc::cancelled;
    }
}

CHAINRING_END_NAMESPACE
