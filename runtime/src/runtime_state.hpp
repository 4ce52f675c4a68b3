// SPDX-License-Identifier: BSL-1.0
// RuntimeState: what the workers of one Runtime share, and the progress of its stop:
//
//   running    -> draining    request_stop(), a signal, or the end of the main task
//   draining   -> cancelling  options.stop_grace has passed (what did not stop is logged), or a second request
//   (any)      -> finishing   the root scope is empty; workers exit once nothing lives on them
//
// Requests are counted in an atomic; worker 0 looks at it in every pass and makes the transitions.
#pragma once

#include <chainring/runtime.hpp>

#include "runtime/src/offload_pool.hpp"
#include "runtime/src/worker.hpp"

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

namespace detail::sim {
class Simulation;
}

class RuntimeState {
public:
    enum class Phase : std::uint8_t { running, draining, cancelling };

    // `host`: the process of the simulated world that this runtime is; null: a real one.
    RuntimeState(Runtime& owner, const RuntimeOptions& chosen, detail::sim::Host* host);
    ~RuntimeState();

    Runtime& runtime;
    RuntimeOptions options;
    std::unique_ptr<detail::sim::Simulation> own_world;  // when the backend is asked for by name, outside of a world
    detail::sim::Host* host;
    detail::Safepoint safepoint;
    detail::OffloadPool offload;
    detail::Injection injection;  // tasks that belong to no worker yet, and what a worker's queue had no room for
    // Hints, read and written relaxed: for sharing load, where a wrong guess costs time and nothing else.
    std::atomic<std::uint32_t> idle_workers{0};       // parked, or about to; counted only where workers share load
    std::atomic<std::uint32_t> searching_workers{0};  // stealing
    bool may_spin;                                    // constant: asked for, and every worker has a CPU of its own
    bool learn_spin;                                  // constant: its length was left open
    bool take_turns;                                  // constant: there are more workers than CPUs
    std::vector<std::unique_ptr<detail::Worker>> workers;
    std::string_view backend_name;

    std::atomic<unsigned> stop_requests{0};    // any thread or signal handler adds; worker 0 reads
    std::atomic<Phase> phase{Phase::running};  // worker 0 writes; any thread reads
    std::atomic<bool> finishing{false};        // written by whoever ends the last task; every worker reads
    std::atomic<bool> main_ended{false};       // the worker that ends the main task writes, worker 0 reads
    bool ran = false;

    // Starts the threads of all workers but the first and waits until they are attached. Throws what the first failure
    // threw; the threads that run by then are in `threads`.
    void start_others(std::vector<std::thread>& threads);
    // Where one thread plays them all.
    void others_began() noexcept { others_running_.store(workers.size() - 1, std::memory_order_relaxed); }

    // A new task without a worker, from any thread.
    void inject(detail::TaskContext& task) noexcept;
    // Wakes one parked worker other than `from`, if there is one. On `from`'s thread.
    void wake_one(const detail::Worker& from) noexcept;

    void main_has_ended() noexcept;  // by the worker that frees the main task
    // Names of tasks: few have one, so they are not kept in the task. Any thread.
    void name_task(detail::TaskContext& task, const char* name);
    void forget_name(const detail::TaskContext& task) noexcept;
    const char* name_of(const detail::TaskContext& task) const noexcept;  // null: it has none

    // Worker 0 keeps the grace timer and looks at requests, so it leaves last.
    void worker_left() noexcept;
    bool others_left() const noexcept { return others_running_.load(std::memory_order_acquire) == 0; }

    // What the tasks are doing; see Runtime::dump_tasks. Any thread. The number of tasks goes to `count`.
    std::string report_tasks(std::size_t max_tasks, std::size_t* count = nullptr);
    // A task of the root scope, other than the main task, has thrown. On its worker.
    void report_root_exception(const detail::TaskContext& task, std::exception_ptr exception) noexcept;
    void log_lines(std::string_view text) const;  // nothing when there is no sink

    // Worker 0.
    void advance_stop() noexcept {
        if (stop_requests.load(std::memory_order_acquire) != requests_handled_ ||
            main_ended.load(std::memory_order_acquire)) [[unlikely]]
            handle_stop();
    }
    // The worker of the last task of the root scope.
    void finish() noexcept;

private:
    struct StopTimer : detail::TimerNode {
        RuntimeState* state = nullptr;
    };
    void choose_backend();
    void handle_stop() noexcept;
    void begin_draining() noexcept;
    void grace_passed() noexcept;
    void begin_cancelling() noexcept;
    void report_unstopped(const std::string& why) noexcept;
    void wake_all() noexcept;

    mutable std::mutex names_mutex_;
    std::unordered_map<const detail::TaskContext*, const char*> names_;
    std::atomic<std::size_t> others_running_{0};  // workers but the first; each takes itself off when it leaves
    unsigned requests_handled_ = 0;
    StopTimer grace_timer_;    // draining: its end
    StopTimer unended_timer_;  // cancelling: when to tell what has still not ended
};

// What a worker asks of all this in each pass.

inline bool detail::Worker::may_exit() const noexcept {
    return runtime_.finishing.load(std::memory_order_acquire) && !live_ && run_queue_.empty() && !flush_head_ &&
           backend_->in_flight() == 0 && inbox_.empty() && (index_ != 0 || runtime_.others_left());
}

inline bool detail::Worker::look_at_stop() noexcept {
    if (index_ == 0) runtime_.advance_stop();
    if (runtime_.phase.load(std::memory_order_acquire) == RuntimeState::Phase::running &&
        !runtime_.finishing.load(std::memory_order_acquire)) [[likely]]
        return false;
    return follow_stop();
}

CHAINRING_END_NAMESPACE
