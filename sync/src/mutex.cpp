// SPDX-License-Identifier: BSL-1.0
#include <chainring/mutex.hpp>
#include <chainring/task_context.hpp>

#include "runtime/src/task_report.hpp"
#include "runtime/src/worker.hpp"

#include <mutex>
#include <string>

CHAINRING_BEGIN_NAMESPACE

Mutex::Guard Mutex::try_lock() noexcept {
    const detail::Worker* worker = detail::Worker::current();
    return core_.try_lock(worker ? worker->running() : nullptr) ? Guard(*this) : Guard();
}

void Mutex::unlock() noexcept {
    detail::Granted granted;
    core_.unlock(granted);
    granted.wake();
}

namespace {

void describe_lock(const detail::Waiter& waiter, const detail::TaskReport& report, std::string& out) {
    const detail::WaitQueue& queue = static_cast<const detail::QueuedWait&>(waiter).queue();
    const std::lock_guard hold(queue.mutex());
    out += "held by ";
    out += queue.owner() ? report.name_of(queue.owner()) : "a thread that is no task";
}

// In this file, so that every program that waits for a Mutex has it.
[[maybe_unused]] const bool report_registered = (detail::describe_waits(detail::WaitKind::mutex, describe_lock), true);

}  // namespace

Mutex::Lock::Lock(Mutex& mutex) noexcept : QueuedWait(mutex.core_.waiting(), detail::WaitKind::mutex), mutex_(mutex) {}

bool Mutex::Lock::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (node.context->is_cancelled()) return refuse(detail::Wake::cancelled);
    task = node.context;  // who asks: the owner, when the lock is free
    const bool taken = mutex_.core_.lock(*this, [&]() noexcept { begin(node, handle, limit_); });
    return taken ? grant_at_once() : true;
}

CHAINRING_END_NAMESPACE
