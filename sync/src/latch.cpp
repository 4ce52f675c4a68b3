// SPDX-License-Identifier: BSL-1.0
#include <chainring/latch.hpp>
#include <chainring/task_context.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/worker.hpp"

CHAINRING_BEGIN_NAMESPACE

std::size_t Latch::count() const noexcept {
    return core_.count();
}

void Latch::count_down(std::size_t by) noexcept {
    detail::Granted granted;
    core_.count_down(by, granted);
    granted.wake();
}

void Latch::wait_blocking() {
    CHAINRING_REQUIRE(!detail::Worker::current(), "Latch::wait_blocking is for plain threads; a task awaits wait()");
    core_.wait_blocking();
}

Latch::Wait::Wait(Latch& latch) noexcept : QueuedWait(latch.core_.waiting(), detail::WaitKind::latch), latch_(latch) {}

bool Latch::Wait::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (node.context->is_cancelled()) return latch_.try_wait() ? grant_at_once() : refuse(detail::Wake::cancelled);
    const bool through = latch_.core_.wait(*this, [&]() noexcept { begin(node, handle, limit_); });
    return through ? grant_at_once() : true;
}

CHAINRING_END_NAMESPACE
