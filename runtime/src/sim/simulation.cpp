// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/sim/simulation.hpp"

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/sim/host.hpp"

#include <algorithm>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

namespace {
thread_local Simulation* current_simulation = nullptr;
}

Simulation* Simulation::current() noexcept {
    return current_simulation;
}

Simulation::Turn::Turn(Simulation& simulation) noexcept : outer_(std::exchange(current_simulation, &simulation)) {}

Simulation::Turn::~Turn() {
    current_simulation = outer_;
}

// What users draw does not disturb the schedule, and the other way round.
Simulation::Simulation(std::uint64_t seed, const Mischief& mischief)
    : seed_(seed), random_(seed), users_random_(~seed), network_(timeline_, random_, trace_) {
    network_.mischief = mischief;
}

Simulation::~Simulation() {
    const Turn turn(*this);
    hosts_.clear();
}

Host& Simulation::add_host(Machine& machine) {
    hosts_.push_back(std::make_unique<Host>(*this, machine, static_cast<std::uint32_t>(hosts_.size() + 1)));
    return *hosts_.back();
}

// ---- the loop

Simulation::Step Simulation::step(Instant until) {
    if (timeline_.now() >= until) return Step::time_up;
    if (play_one()) return Step::played;
    const Instant instant = next();
    if (instant == Instant::max() && until == Instant::max()) return Step::nothing;
    timeline_.advance_to(std::min(instant, until));
    return Step::played;
}

bool Simulation::play_one() {
    candidates_.clear();
    for (const auto& host : hosts_) {
        if (!host->running() || host->stalled()) continue;
        for (std::size_t worker = 0; worker < host->workers(); ++worker)
            if (host->can_play(worker)) candidates_.emplace_back(host.get(), worker);
    }
    if (candidates_.empty()) return false;
    const std::uint64_t drawn = shuffles() ? random_.below(candidates_.size()) : turn_++ % candidates_.size();
    const auto [host, worker] = candidates_[static_cast<std::size_t>(drawn)];
    host->play(worker);
    host->end_if_over();
    if (Host* delayed = std::exchange(delayed_, nullptr); delayed && delayed->running())
        if (const Instant next = delaying_->timers().next(); next != Instant::max()) delayed->stall_until(next);
    if (Host* doomed = std::exchange(doomed_, nullptr)) doomed->kill();
    timeline_.advance_to(timeline_.now() + Duration(random_.between(200, 2'000)));
    return true;
}

Instant Simulation::next() const noexcept {
    Instant next = timeline_.next();
    for (const auto& host : hosts_) {
        if (!host->running()) continue;
        next = std::min(next, host->stalled() ? host->stalled_until() : host->next_deadline());
    }
    return next;
}

// ---- strikes

void Simulation::begins_to_wait(Host& host, Worker& worker, TaskContext& task) noexcept {
    if (++waits_ != strike_at_) return;
    struck_ = true;
    trace_.record(TraceKind::fault, static_cast<std::int64_t>(strike_), static_cast<std::int64_t>(waits_));
    switch (strike_) {
        case Strike::none:
            return;
        case Strike::cancel:
            if (task.request.ask()) task.tell_worker();
            return;
        case Strike::timeout:
            delayed_ = &host;  // its limit may be stamped at the end of this part only
            delaying_ = &worker;
            return;
        case Strike::reset:
            host.reset_connection();
            return;
        case Strike::kill:
            doomed_ = &host;
            return;
    }
}

std::string Simulation::report() const {
    std::string text;
    for (const auto& host : hosts_) {
        if (!host->running()) continue;
        text += "on " + std::string(host->machine().name()) + ":\n" + host->report();
    }
    return text;
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
