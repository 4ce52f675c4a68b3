// SPDX-License-Identifier: BSL-1.0
#include <chainring/semaphore.hpp>
#include <chainring/task_context.hpp>

CHAINRING_BEGIN_NAMESPACE

std::size_t Semaphore::available() const noexcept {
    return core_.available();
}

bool Semaphore::try_acquire() noexcept {
    return core_.try_acquire();
}

void Semaphore::release(std::size_t permits) noexcept {
    detail::Granted granted;
    core_.release(permits, granted);
    granted.wake();
}

Semaphore::Acquire::Acquire(Semaphore& semaphore) noexcept
    : QueuedWait(semaphore.core_.waiting(), detail::WaitKind::semaphore), semaphore_(semaphore) {}

bool Semaphore::Acquire::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (node.context->is_cancelled()) return refuse(detail::Wake::cancelled);
    const bool taken = semaphore_.core_.acquire(*this, [&]() noexcept { begin(node, handle, limit_); });
    return taken ? grant_at_once() : true;
}

CHAINRING_END_NAMESPACE
