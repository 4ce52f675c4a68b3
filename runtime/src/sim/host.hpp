// SPDX-License-Identifier: BSL-1.0
// Host: a process on a machine of the simulated world: one Runtime, whose workers are played in turn by the one thread
// of the Simulation. It is where a Runtime meets its world: it makes the backends, chooses which runnable task is next,
// and runs offloaded calls at a virtual time.
//
//   idle     no process: not started yet, ended, or killed
//   running  begin() .. until every worker has left
//   ghost    killed: the network knows nothing of it any more; its tasks are cancelled and run to their end in an
//            afterlife with a clock of its own, so that every destructor runs and nothing leaks. No one can see it.
#pragma once

#include <chainring/config.hpp>
#include <chainring/scope.hpp>
#include <chainring/time.hpp>

#include "runtime/src/backend.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

class Runtime;
struct RuntimeOptions;

namespace detail {

class OffloadPool;
class OffloadedCall;
class RunQueue;
class TaskContext;
class Worker;

namespace sim {

class Machine;
class SimBackend;
class Simulation;

class Host {
public:
    Host(Simulation& simulation, Machine& machine, std::uint32_t number) noexcept;
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;
    ~Host();

    // ---- for RuntimeState, Worker and OffloadPool
    std::unique_ptr<Backend> make_backend(const BackendOptions& options);
    unsigned choose_budget(unsigned most) noexcept;
    TaskContext* choose_task(RunQueue& queue) noexcept;
    void before_resume(Worker& worker, TaskContext& task) noexcept;
    void after_resume(Worker& worker, TaskContext& task, bool ended) noexcept;
    void offload_wanted(OffloadPool& pool) noexcept;

    // ---- life
    // Plays a Runtime that was made outside, until its run is over. Throws std::runtime_error, with what every task
    // waits for, when nothing can happen any more.
    void run_alone(Runtime& runtime, Child& main);
    // Starts a process; its Runtime is this host's own. Traps unless idle.
    void start(const RuntimeOptions& options, std::function<Child&()> make_main);
    void kill() noexcept;  // nothing when idle
    void request_stop() noexcept;
    bool reset_connection();  // one of its process's, drawn; false: it has none
    void slow_offload(Duration duration) noexcept { offload_time_ = duration; }  // zero: drawn
    void stall_until(Instant until) noexcept { stalled_until_ = until; }

    // ---- for the Simulation
    bool running() const noexcept { return runtime_ != nullptr; }
    bool stalled() const noexcept;
    Instant stalled_until() const noexcept { return stalled_until_; }
    std::size_t workers() const noexcept { return played_.size(); }
    bool can_play(std::size_t worker) const noexcept;
    void play(std::size_t worker);           // one part of a pass
    Instant next_deadline() const noexcept;  // of its parked workers; Instant::max(): none
    void end_if_over();                      // the process has ended: frees its Runtime, keeps what its main task threw

    std::string report() const;  // what its tasks wait for
    std::exception_ptr take_failure() noexcept { return std::exchange(failure_, nullptr); }

    Machine& machine() const noexcept { return machine_; }
    Runtime* runtime() const noexcept { return runtime_; }
    Simulation& simulation() const noexcept { return simulation_; }
    std::size_t starts() const noexcept { return starts_; }

private:
    enum class Part : std::uint8_t { tasks, reap, park, parked, left };
    struct Played {
        Worker* worker;
        SimBackend* backend;
        Part part = Part::tasks;
    };

    void begin(Runtime& runtime, Child& main);
    bool over() const noexcept;
    void live_out_afterlife();
    void begin_offload(OffloadPool& pool) noexcept;
    Duration offload_time() noexcept;
    void make_offloaded(OffloadPool& pool, OffloadedCall& call) noexcept;
    void forget_process() noexcept;

    Simulation& simulation_;
    Machine& machine_;
    const std::uint32_t number_;
    Instant stalled_until_{};
    Duration offload_time_{};
    Runtime* runtime_ = nullptr;
    std::unique_ptr<Runtime> owned_;
    std::vector<SimBackend*> made_;  // backends of the Runtime that is being set up
    std::vector<Played> played_;
    std::exception_ptr failure_;
    std::size_t starts_ = 0;
    std::uint64_t process_ = 0;          // counts processes: events of an earlier one are told apart
    std::vector<OffloadedCall*> begun_;  // offloaded calls that are being made
    bool ghost_ = false;

    // Numbers of tasks in the trace, given at their first resume. Looked up, never walked.
    std::unordered_map<const TaskContext*, std::uint32_t> numbers_;
    std::uint32_t last_number_ = 0;
};

}  // namespace sim
}  // namespace detail
CHAINRING_END_NAMESPACE
