// SPDX-License-Identifier: BSL-1.0
#include <chainring/time.hpp>

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/sim/simulation.hpp"
#include "runtime/src/worker.hpp"

#include <algorithm>

CHAINRING_BEGIN_NAMESPACE

Instant now() noexcept {
    const detail::Worker* worker = detail::Worker::current();
    if (detail::sim::Simulation* world = detail::sim::Simulation::current(); world) [[unlikely]]
        if (!worker || !worker->runtime().options.clock) return world->read_clock();
    return worker ? worker->now() : std::chrono::steady_clock::now();
}

namespace detail {

void TimedWaiter::on_timer(TimerNode& node) noexcept {
    auto& self = static_cast<TimedWaiter&>(node);
    self.cancel(self, Wake::timed_out);
}

Instant earlier_of(const Limit& limit, const TaskContext& task) noexcept {
    return limit.given() ? std::min(limit.from(task.worker()->now()), task.deadline) : task.deadline;
}

void TimedWaiter::begin(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept {
    suspend(*this, node, handle, limit);
}

void TimedWaiter::begin_exactly(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept {
    suspend(*this, node, handle);
    if (limit.given()) task->worker()->timers().arm(*this, limit.from(task->worker()->now()));
}

void TimedWaiter::stay() noexcept {
    task->worker()->timers().cancel(*this);
    take_back(*this);
}

void TimedWaiter::finish() noexcept {
    detail::finish(*this);
}

void TimedWaiter::end_early(Waiter& waiter, Wake why) noexcept {
    if (waiter.try_claim(why)) static_cast<TimedWaiter&>(waiter).finish();
}

RemoteWaiter::RemoteWaiter() noexcept {
    run = [](InboxNode& node) noexcept { static_cast<RemoteWaiter&>(node).finish(); };
}

void RemoteWaiter::wake() noexcept {
    Worker& worker = *task->worker();
    // Here: to its run queue. A report may be reading it, when the task that wakes it has held this worker for long.
    if (Worker::current() == &worker && !worker.runtime().safepoint.wanted())
        finish();
    else
        worker.post(*this);
}

}  // namespace detail

bool Sleep::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    detail::TaskContext& sleeper = *node.context;
    if (sleeper.is_cancelled()) {
        claim.settle(detail::Wake::cancelled);
        return false;
    }
    waits_in = detail::WaitKind::sleep;
    const Instant end = limit_.from(sleeper.worker()->now());
    cut_short_ = sleeper.deadline < end;
    limit_.until(end);
    begin(node, handle, limit_);
    return true;
}

Sleep sleep_for(Duration duration) noexcept {
    return Sleep(detail::Limit(duration));
}

Sleep sleep_until(Instant instant) noexcept {
    return Sleep(detail::Limit(instant));
}

CHAINRING_END_NAMESPACE
