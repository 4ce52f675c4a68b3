// SPDX-License-Identifier: BSL-1.0
#include <chainring/event.hpp>
#include <chainring/task_context.hpp>

CHAINRING_BEGIN_NAMESPACE

bool Event::is_set() const noexcept {
    return core_.is_set();
}

void Event::reset() noexcept {
    core_.reset();
}

void Event::set() noexcept {
    detail::Granted granted;
    core_.set(granted);
    granted.wake();
}

Event::Wait::Wait(Event& event) noexcept : QueuedWait(event.core_.waiting(), detail::WaitKind::event), event_(event) {}

bool Event::Wait::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (node.context->is_cancelled()) return event_.is_set() ? grant_at_once() : refuse(detail::Wake::cancelled);
    const bool through = event_.core_.wait(*this, [&]() noexcept { begin(node, handle, limit_); });
    return through ? grant_at_once() : true;
}

CHAINRING_END_NAMESPACE
