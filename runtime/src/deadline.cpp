// SPDX-License-Identifier: BSL-1.0
#include <chainring/deadline.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/worker.hpp"

#include <algorithm>

CHAINRING_BEGIN_NAMESPACE

namespace {

detail::TaskContext& running_task() noexcept {
    const detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker && worker->running(), "a Deadline belongs to a task of a Runtime");
    return *worker->running();
}

Instant from_now(Duration duration) noexcept {
    detail::Limit limit;
    limit.within(duration);
    return limit.from(now());
}

}  // namespace

Deadline::Deadline(Duration duration) noexcept : Deadline(from_now(duration)) {}

Deadline::Deadline(Instant instant) noexcept : task_(&running_task()), outer_(task_->deadline) {
    task_->deadline = std::min(outer_, instant);
}

Deadline::~Deadline() {
    task_->deadline = outer_;
}

Instant Deadline::current() noexcept {
    return running_task().deadline;
}

void detail::Shield::raise(TaskContext& task) noexcept {
    CHAINRING_REQUIRE(task.shields < 127, "shielded regions are nested more than 126 deep");
    task_ = &task;
    ++task.shields;
    if (task.cancelled) task.cancelled_behind_shield = true;
    task.cancelled = false;
    deadline_ = std::exchange(task.deadline, Instant::max());
}

void detail::Shield::lower() noexcept {
    TaskContext& task = *task_;
    task.deadline = deadline_;
    if (--task.shields > 0) return;
    task.cancelled = task.cancelled_behind_shield;
    task.cancelled_behind_shield = false;
}

CHAINRING_END_NAMESPACE
