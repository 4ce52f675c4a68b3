// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/sim/host.hpp"

#include <chainring/runtime.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/sim/network.hpp"
#include "runtime/src/sim/sim_backend.hpp"
#include "runtime/src/sim/simulation.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

Host::Host(Simulation& simulation, Machine& machine, std::uint32_t number) noexcept
    : simulation_(simulation), machine_(machine), number_(number) {}

Host::~Host() {
    kill();
}

// ---- for RuntimeState, Worker and OffloadPool

std::unique_ptr<Backend> Host::make_backend(const BackendOptions& options) {
    auto backend = std::make_unique<SimBackend>(machine_, options);
    made_.push_back(backend.get());
    return backend;
}

unsigned Host::choose_budget(unsigned most) noexcept {
    return simulation_.shuffles() ? 1 + static_cast<unsigned>(simulation_.random().below(most)) : most;
}

// Any of the first few. They go back to the tail, so that in time every order is seen.
TaskContext* Host::choose_task(RunQueue& queue) noexcept {
    if (!simulation_.shuffles()) return queue.pop();
    std::array<TaskContext*, 8> found{};
    std::size_t count = 0;
    while (count < found.size()) {
        TaskContext* task = queue.pop();
        if (!task) break;
        found[count++] = task;
    }
    if (count == 0) return nullptr;
    const auto chosen = static_cast<std::size_t>(simulation_.random().below(count));
    for (std::size_t at = 0; at < count; ++at)
        if (at != chosen) queue.push(*found[at], false);
    return found[chosen];
}

void Host::before_resume(Worker& worker, TaskContext& task) noexcept {
    const auto [entry, fresh] = numbers_.try_emplace(&task, last_number_ + 1);
    if (fresh) ++last_number_;
    simulation_.trace().at(number_, entry->second);
    simulation_.trace().record(TraceKind::resume, worker.index());
}

void Host::after_resume(Worker& worker, TaskContext& task, bool ended) noexcept {
    if (ended) {
        simulation_.trace().record(TraceKind::task_end);
        numbers_.erase(&task);
    } else if (task.waiter && !ghost_) {
        simulation_.begins_to_wait(*this, worker, task);
    }
    simulation_.trace().at(number_, 0);
}

// The pool's threads are played, too: a call begins a little after it was pushed, and is made, all at once, when the
// virtual time that it takes is over.
void Host::offload_wanted(OffloadPool& pool) noexcept {
    if (ghost_) {
        while (OffloadedCall* call = pool.take()) make_offloaded(pool, *call);
        return;
    }
    simulation_.later(Duration(simulation_.random().between(0, 50'000)), [this, process = process_, &pool] {
        if (process == process_) begin_offload(pool);
    });
}

void Host::begin_offload(OffloadPool& pool) noexcept {
    OffloadedCall* call = pool.take();
    if (!call) return;
    begun_.push_back(call);
    simulation_.later(offload_time(), [this, process = process_, &pool, call] {
        if (process != process_) return;
        std::erase(begun_, call);
        make_offloaded(pool, *call);
        begin_offload(pool);
    });
}

Duration Host::offload_time() noexcept {
    return offload_time_ > Duration::zero() ? offload_time_ : Duration(simulation_.random().between(5'000, 500'000));
}

void Host::make_offloaded(OffloadPool& pool, OffloadedCall& call) noexcept {
    const Worker::Turn nobody(nullptr);
    pool.make(call);
}

// ---- life

void Host::begin(Runtime& runtime, Child& main) {
    RuntimeState& state = *runtime.state_;
    runtime_ = &runtime;
    ++starts_;
    played_.clear();
    for (std::size_t at = 0; at < state.workers.size(); ++at) {
        played_.push_back({state.workers[at].get(), made_[at]});
        const Worker::Turn turn(played_.back().worker);
        played_.back().worker->attach();
        played_.back().worker->begin();
    }
    made_.clear();
    state.others_began();
    runtime.launch_main(main);
}

bool Host::over() const noexcept {
    for (const Played& each : played_)
        if (each.part != Part::left) return false;
    return true;
}

void Host::run_alone(Runtime& runtime, Child& main) {
    begin(runtime, main);
    const auto outcome = simulation_.run(Instant::max(), [this] { return over(); });
    std::string why;
    if (outcome == Simulation::Outcome::stuck) {
        why = "chainring: in the simulated world nothing can happen any more, and tasks wait:\n" + report();
        machine_.kill_process();  // so that whatever is armed ends: nothing that takes virtual time comes any more
        live_out_afterlife();
    }
    forget_process();
    if (!why.empty()) throw std::runtime_error(why);
}

void Host::start(const RuntimeOptions& options, std::function<Child&()> make_main) {
    CHAINRING_REQUIRE(!running(), "a host of the simulated world runs one process at a time");
    owned_.reset(new Runtime(options, *this));
    owned_->state_->ran = true;
    begin(*owned_, make_main());
}

void Host::end_if_over() {
    if (!running() || !over()) return;
    if (owned_) failure_ = owned_->main_failure();
    forget_process();
    simulation_.trace().at(number_, 0);
    simulation_.trace().record(TraceKind::process_end, static_cast<std::int64_t>(starts_));
}

void Host::kill() noexcept {
    if (!running()) return;
    simulation_.trace().at(number_, 0);
    machine_.kill_process();
    live_out_afterlife();
    forget_process();
}

void Host::forget_process() noexcept {
    ++process_;
    stalled_until_ = {};
    runtime_ = nullptr;
    played_.clear();
    numbers_.clear();
    owned_.reset();
}

bool Host::reset_connection() {
    std::vector<int> established;
    for (int fd = 0; fd < machine_.descriptors(); ++fd)
        if (machine_.connection_of(fd)) established.push_back(fd);
    if (established.empty()) return false;
    const int fd = established[static_cast<std::size_t>(simulation_.random().below(established.size()))];
    return simulation_.network().reset(machine_, fd);
}

void Host::request_stop() noexcept {
    if (runtime_) runtime_->request_stop();
}

// The network is gone. Tasks are cancelled; what they wait for by the clock comes at once.
void Host::live_out_afterlife() {
    ghost_ = true;
    Instant clock = simulation_.timeline().now();
    for (Played& each : played_) each.backend->live_by(clock);
    ++process_;  // its events are void
    OffloadPool& pool = runtime_->state_->offload;
    for (OffloadedCall* call : std::exchange(begun_, {})) make_offloaded(pool, *call);
    runtime_->request_stop();
    runtime_->request_stop();
    while (!over()) {
        offload_wanted(pool);
        bool played = false;
        for (std::size_t at = 0; at < played_.size(); ++at) {
            if (!can_play(at)) continue;
            play(at);
            played = true;
        }
        if (played) continue;
        const Instant next = next_deadline();
        if (next == Instant::max())
            trap(("tasks of a killed host wait for something that does not come, though they were cancelled:\n" +
                  report())
                     .c_str(),
                 __FILE__, __LINE__);
        clock = next;
    }
    ghost_ = false;
}

// ---- playing

bool Host::stalled() const noexcept {
    return stalled_until_ > simulation_.timeline().now();
}

bool Host::can_play(std::size_t worker) const noexcept {
    const Played& each = played_[worker];
    if (each.part == Part::left) return false;
    if (each.part != Part::parked) return true;
    return each.backend->ready() || each.worker->timers().next() <= each.worker->now();
}

void Host::play(std::size_t at) {
    Played& each = played_[at];
    simulation_.trace().at(number_, 0);
    const Worker::Turn turn(each.worker);
    switch (each.part) {
        case Part::tasks:
            if (each.worker->may_exit()) {
                each.worker->end();
                each.part = Part::left;
                return;
            }
            each.worker->run_tasks();
            each.part = Part::reap;
            return;
        case Part::reap:
            each.part = each.worker->reap() ? Part::park : Part::tasks;
            return;
        case Part::park:
            each.part = each.worker->park() ? Part::parked : Part::tasks;
            return;
        case Part::parked:
            each.worker->sleep();
            each.part = Part::tasks;
            return;
        case Part::left:
            return;
    }
}

// Time does not bring a ManualClock on: what falls due by it does so when a task advances it.
Instant Host::next_deadline() const noexcept {
    Instant next = Instant::max();
    if (!ghost_ && runtime_->state_->options.clock) return next;
    for (const Played& each : played_)
        if (each.part == Part::parked) next = std::min(next, each.worker->timers().next());
    return next;
}

std::string Host::report() const {
    return runtime_ ? runtime_->state_->report_tasks(~std::size_t{0}) : std::string();
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
