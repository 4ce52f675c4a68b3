// SPDX-License-Identifier: BSL-1.0
#include <chainring/latch.hpp>
#include <chainring/task_context.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/worker.hpp"

CHAINRING_BEGIN_NAMESPACE

std::size_t Latch::count() const noexcept {
    const std::lock_guard lock(queue_.mutex());
    return count_;
}

// After the mutex is released only the waiters are touched: whoever gets through may destroy the Latch.
void Latch::count_down(std::size_t by) noexcept {
    detail::Granted granted;
    {
        const std::lock_guard lock(queue_.mutex());
        CHAINRING_REQUIRE(by <= count_, "a Latch is counted down below zero");
        count_ -= by;
        if (count_ > 0) return;
        while (detail::QueuedWait* wait = queue_.grant()) granted.add(*wait);
        threads_.notify_all();
    }
    granted.wake();
}

void Latch::wait_blocking() {
    CHAINRING_REQUIRE(!detail::Worker::current(), "Latch::wait_blocking is for plain threads; a task awaits wait()");
    std::unique_lock lock(queue_.mutex());
    threads_.wait(lock, [this] { return count_ == 0; });
}

Latch::Wait::Wait(Latch& latch) noexcept : QueuedWait(latch.queue_), latch_(latch) {
    waits_in = detail::WaitKind::latch;
}

bool Latch::Wait::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    const std::lock_guard lock(queue_.mutex());
    if (latch_.count_ == 0) {
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
