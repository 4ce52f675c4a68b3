// SPDX-License-Identifier: BSL-1.0
#include <chainring/schedule.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/worker.hpp"

CHAINRING_BEGIN_NAMESPACE

namespace {

detail::Worker& this_worker() noexcept {
    detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker && worker->running(), "stay_here and roam are for a task of a Runtime");
    return *worker;
}

}  // namespace

bool ResumeOn::start(detail::TaskContext& task, std::coroutine_handle<> handle) const noexcept {
    detail::Worker& here = *task.worker();
    const auto& workers = here.runtime().workers;
    CHAINRING_REQUIRE(worker_ < workers.size(), "resume_on: there is no worker of that index");
    task.affinity = static_cast<std::uint16_t>(worker_ + 1);
    if (worker_ == here.index()) return false;
    task.resume = handle;
    detail::send_to(*workers[worker_], task);
    return true;
}

void stay_here() noexcept {
    detail::Worker& worker = this_worker();
    worker.running()->affinity = static_cast<std::uint16_t>(worker.index() + 1);
}

void roam() noexcept {
    this_worker().running()->affinity = 0;
}

CHAINRING_END_NAMESPACE
