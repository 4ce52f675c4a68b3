// SPDX-License-Identifier: BSL-1.0
// Tasks from elsewhere: how a worker finds some when it has none, and when it wakes others because it has too many.
#include "runtime/src/runtime_state.hpp"
#include "runtime/src/worker.hpp"

#include <algorithm>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// Nothing to do here: takes injected tasks, else those of another worker.
bool Worker::find_task() noexcept {
    if (take_injected(task_budget / 2)) return true;
    return run_queue_.shared() && steal();
}

bool Worker::take_injected(std::size_t most) noexcept {
    InboxNode* node = runtime_.injection.pop(most);
    if (!node) return false;
    while (node) {
        InboxNode* next = node->next;
        make_runnable(TaskContext::of(*node));
        bump(injected_);
        node = next;
    }
    if (!runtime_.injection.empty()) runtime_.wake_one(*this);
    return true;
}

// At most half of the workers search at a time: more would only meet at the same queues.
bool Worker::steal() noexcept {
    const auto workers = static_cast<std::uint32_t>(runtime_.workers.size());
    if (2 * runtime_.searching_workers.load(std::memory_order_relaxed) >= workers && workers > 1) return false;
    runtime_.searching_workers.fetch_add(1, std::memory_order_relaxed);
    bool found = false;
    for (std::uint32_t tried = 0; tried < workers && !found; ++tried) {
        Worker& victim = *runtime_.workers[victim_++ % workers];
        found = &victim != this && victim.run_queue_.has_stealable() &&
                run_queue_.steal_from(victim.run_queue_, victim.running() != nullptr);
    }
    runtime_.searching_workers.fetch_sub(1, std::memory_order_relaxed);
    if (found) bump(steals_);
    return found;
}

// Wakes a parked worker when it is worth it: a wake costs about as much as this many microseconds of work. Only a hint
// is read, and a wake left out loses nothing: what is queued here is run here.
void Worker::share_load() noexcept {
    constexpr Duration worth_a_wake = std::chrono::microseconds(50);
    if (runtime_.idle_workers.load(std::memory_order_relaxed) == 0) return;
    if (runtime_.searching_workers.load(std::memory_order_relaxed) > 0) return;
    const std::size_t queued = run_queue_.size();
    if (queued < 2) return;
    if (runtime_.options.steal == Steal::overloaded && task_cost_ * static_cast<Duration::rep>(queued) < worth_a_wake)
        return;
    runtime_.wake_one(*this);
}

void Worker::note_cost(Duration duration, unsigned tasks) noexcept {
    task_cost_ = std::max(duration / tasks, task_cost_ - task_cost_ / 8);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
