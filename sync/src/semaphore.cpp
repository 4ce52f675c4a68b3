// SPDX-License-Identifier: BSL-1.0
#include <chainring/semaphore.hpp>
#include <chainring/task_context.hpp>

CHAINRING_BEGIN_NAMESPACE

std::size_t Semaphore::available() const noexcept {
    const std::lock_guard lock(queue_.mutex());
    return permits_;
}

bool Semaphore::try_acquire() noexcept {
    const std::lock_guard lock(queue_.mutex());
    if (permits_ == 0) return false;
    --permits_;
    return true;
}

void Semaphore::release(std::size_t permits) noexcept {
    detail::Granted granted;
    {
        const std::lock_guard lock(queue_.mutex());
        for (; permits > 0; --permits) {
            detail::QueuedWait* wait = queue_.grant();
            if (!wait) break;
            granted.add(*wait);
        }
        permits_ += permits;
    }
    granted.wake();
}

Semaphore::Acquire::Acquire(Semaphore& semaphore) noexcept : QueuedWait(semaphore.queue_), semaphore_(semaphore) {
    waits_in = detail::WaitKind::semaphore;
}

bool Semaphore::Acquire::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    const std::lock_guard lock(queue_.mutex());
    if (node.context->cancelled) {
        refuse(detail::Wake::cancelled);
        return false;
    }
    if (semaphore_.permits_ > 0) {
        --semaphore_.permits_;
        grant_at_once();
        return false;
    }
    enqueue(node, handle, limit_);
    return true;
}

CHAINRING_END_NAMESPACE
