// SPDX-License-Identifier: BSL-1.0
// How a worker ends a pass: it sends what was written, and when there is nothing to do it looks for tasks elsewhere,
// spins or gives way, and parks in the kernel last.
#include "runtime/src/runtime_state.hpp"
#include "runtime/src/worker.hpp"

#include <algorithm>
#include <thread>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// flatten: one function for all of it, as a pass with one request in it is felt in each call.
[[gnu::flatten]] void Worker::finish_pass() noexcept {
    if (reap() && park()) sleep();
}

inline void Worker::flush() noexcept {
    while (flush_head_) {
        FlushNode& node = *flush_head_;
        flush_head_ = node.next_flush;
        if (!flush_head_) flush_tail_ = nullptr;
        node.in_flush_list = false;
        node.flush(node);
    }
}

// The rest of a pass. True: there is nothing to do here, and the worker is to park.
bool Worker::reap() noexcept {
    flush();
    if (starved_head_) feed_starved();
    if (!run_queue_.empty()) {
        backend_->poll();
        return false;
    }
    if (may_exit()) return false;
    if ((runtime_.injection.size() > 0 || run_queue_.shared()) && find_task()) {
        backend_->poll();
        return false;
    }
    return !(lingers_ && linger());
}

// In two halves: announce it, then look once more at all that another thread may have left before it saw the
// announcement. False: there is something.
bool Worker::park() noexcept {
    if (run_queue_.shared()) runtime_.idle_workers.fetch_add(1, std::memory_order_relaxed);  // a hint for the others
    if (learns_spin_) wake_cost_.announced();
    park_.announce();
    if (nothing_arrived() && !flush_head_ && !look_at_stop() && !may_exit() && !runtime_.safepoint.wanted()) {
        bump(parks_);
        return true;
    }
    woken();
    backend_->poll();
    return false;
}

void Worker::sleep() noexcept {
    backend_->wait(timers_.next());
    if (learns_spin_ && wake_cost_.was_sent()) wake_cost_.arrived(std::chrono::steady_clock::now());
    woken();
}

inline void Worker::woken() noexcept {
    park_.running();
    if (run_queue_.shared()) runtime_.idle_workers.fetch_sub(1, std::memory_order_relaxed);
}

bool Worker::linger() noexcept {
    if (runtime_.may_spin) return spin();
    give_way();
    return false;
}

// With more workers than CPUs: a worker that is busy finds completions whenever it looks, so it never blocks, and the
// others would wait until the kernel takes the CPU from it, at a tick: 4 ms with CONFIG_HZ=250, ten times what a round
// of its Links may take. So it offers the CPU after each round: as many budgets of tasks as it has Links for, at least
// one and no more than eight. Here nothing waits in its run queue: a thief would find that while this thread is
// away, and then each send would be a message to this worker. What was written meanwhile is sent when it is back.
//
// The kernel charges the rest of the slice to a thread that yields. Workers do it alike; a thread that computes would
// get nearly all of the CPU. So a turn is repaid by the others' turns, or the next ones are longer, up to 64 budgets.
void Worker::give_way() noexcept {
    const std::uint64_t resumed = resumed_.load(std::memory_order_relaxed);
    if (resumed < next_turn_) return;
    const Instant left = std::chrono::steady_clock::now();
    std::this_thread::yield();
    const Instant back = std::chrono::steady_clock::now();
    const auto others = static_cast<Duration::rep>(runtime_.workers.size() - 1);
    const bool repaid = back - left <= 2 * others * (left - turn_began_);
    const auto round =
        static_cast<std::uint32_t>(std::clamp<std::size_t>((links() + task_budget - 1) / task_budget, 1, 8));
    turn_budgets_ = std::clamp(repaid ? turn_budgets_ / 2 : turn_budgets_ * 2, round, 64U);
    turn_began_ = back;
    next_turn_ = resumed + std::uint64_t{turn_budgets_} * task_budget;
}

// Real time, whatever the runtime's clock is; no longer than until the next timer. A spin that finds nothing costs the
// next ones: after each the worker parks at once for twice as many times, up to 64.
bool Worker::spin() noexcept {
    backend_->poll();
    if (!run_queue_.empty() || flush_head_) return true;
    if (spins_to_skip_ > 0) {
        --spins_to_skip_;
        return false;
    }
    const Instant start = std::chrono::steady_clock::now();
    const Instant until = std::min(start + wake_cost_.value(), timers_.next());
    do {
        if (backend_->spin() || !nothing_arrived()) {
            spin_backoff_ = 0;
            return true;
        }
    } while (std::chrono::steady_clock::now() < until);
    spin_backoff_ = std::clamp(2 * spin_backoff_, 1U, 64U);
    spins_to_skip_ = spin_backoff_;
    return false;
}

inline bool Worker::nothing_arrived() const noexcept {
    const BufferPool& pool = buffers_;
    return inbox_.empty() && runtime_.injection.empty() &&
           !(starved_head_ && (pool.any_returned() || pool.available() > 0));
}

}  // namespace detail
CHAINRING_END_NAMESPACE
