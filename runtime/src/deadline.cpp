// SPDX-License-Identifier: BSL-1.0
#include <chainring/deadline.hpp>
#include <chainring/scope.hpp>
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

}  // namespace

Deadline::Deadline(Duration duration) noexcept : Deadline(detail::after(now(), duration)) {}

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
    CHAINRING_REQUIRE(task.shields < 31, "shielded regions are nested more than 30 deep");
    if (task.is_cancelled()) task.behind_shield = true;
    task.cancelled = false;
    ++task.shields;
    task_ = &task;
    deadline_ = std::exchange(task.deadline, Instant::max());
}

// A scope that was made inside and is still open belongs to the region around it from here on.
void detail::Shield::lower() noexcept {
    TaskContext& task = *task_;
    task.deadline = deadline_;
    --task.shields;
    for (Scope* made = task.open_scopes; made; made = made->outer_) {
        if (made->shields_ <= task.shields) continue;
        made->shields_ = task.shields;
        if (task.shields == 0 && task.behind_shield) made->cancel();
    }
    if (task.shields > 0) return;
    task.cancelled = task.behind_shield;
    task.behind_shield = false;
}

CHAINRING_END_NAMESPACE
