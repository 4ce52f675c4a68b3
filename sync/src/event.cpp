// SPDX-License-Identifier: BSL-1.0
#include <chainring/event.hpp>
#include <chainring/task_context.hpp>

CHAINRING_BEGIN_NAMESPACE

bool Event::is_set() const noexcept {
    const std::lock_guard lock(queue_.mutex());
    return set_;
}

void Event::reset() noexcept {
    const std::lock_guard lock(queue_.mutex());
    set_ = false;
}

void Event::set() noexcept {
    detail::Granted granted;
    {
        const std::lock_guard lock(queue_.mutex());
        set_ = true;
        while (detail::QueuedWait* wait = queue_.grant()) granted.add(*wait);
    }
    granted.wake();
}

Event::Wait::Wait(Event& event) noexcept : QueuedWait(event.queue_), event_(event) {
    waits_in = detail::WaitKind::event;
}

bool Event::Wait::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    const std::lock_guard lock(queue_.mutex());
    if (event_.set_) {
        grant_at_once();
        return false;
    }
    if (node.context->cancelled) {
        refuse(detail::Wake::cancelled);
        return false;
    }
    enqueue(node, handle, limit_);
    return true;
}

CHAINRING_END_NAMESPACE
