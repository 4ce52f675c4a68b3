// SPDX-License-Identifier: BSL-1.0
// sim::World: its hosts and its time, what has happened in it, and playing many of them.
#include <chainring/sim.hpp>

#include "net/src/sim_state.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <ostream>
#include <string>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace sim {

World::World(std::uint64_t seed, WorldOptions options) : state_(std::make_unique<State>(seed, options)) {}

World::~World() {
    const Simulation::Turn turn(state_->simulation);
    for (const auto& host : state_->simulation.hosts()) host->kill();
}

RuntimeOptions World::host_options() noexcept {
    RuntimeOptions options;
    options.workers = 2;
    options.recv_buffers = 64;
    options.recv_buffer_size = 2048;
    options.stop_grace = std::chrono::seconds(10);
    return options;
}

Host& World::add_host(std::string name) {
    return add_host(std::move(name), host_options());
}

Host& World::add_host(std::string name, const RuntimeOptions& options) {
    state_->hosts.emplace_back(new Host(*this, std::move(name), options), [](Host* host) { delete host; });
    return *state_->hosts.back();
}

void World::run() {
    state_->run(Instant::max(), false, [this] { return state_->running() == 0; });
}

bool World::run_until(const std::function<bool()>& done, Duration limit) {
    const Instant until = limit > Instant::max() - now() ? Instant::max() : now() + limit;
    return state_->run(until, false, done);
}

void World::run_for(Duration duration) {
    state_->run(now() + duration, true, [] { return false; });
}

void World::advance(Duration duration) {
    const Simulation::Turn turn(state_->simulation);
    state_->simulation.timeline().advance_to(now() + duration);
}

Instant World::now() const noexcept {
    return state_->simulation.timeline().now();
}
Duration World::elapsed() const noexcept {
    return now() - state_->begin;
}
std::uint64_t World::seed() const noexcept {
    return state_->simulation.seed();
}
std::uint64_t World::random() noexcept {
    return state_->simulation.users_random().next();
}

std::size_t World::running() const noexcept {
    return state_->running();
}

Sums World::sums() const noexcept {
    const detail::sim::Totals& network = state_->simulation.network().totals();
    Sums sums;
    sums.connections = network.established;
    sums.refused = network.connects - network.established;
    sums.resets = network.resets;
    sums.segments = network.segments;
    sums.bytes = network.bytes;
    sums.faults = state_->faults;
    sums.waits = state_->simulation.waits();
    sums.events = state_->simulation.trace().count();
    return sums;
}

// ---- replay

std::uint64_t World::trace_hash() const noexcept {
    return state_->simulation.trace().hash();
}

void World::print_trace(std::ostream& out) const {
    for (const detail::sim::TraceEvent& event : state_->simulation.trace().events())
        out << state_->simulation.trace().line(event) << '\n';
}

std::string World::dump() const {
    return state_->simulation.report();
}

namespace {

// A run that fails says how to see it again.
void run_one(World& world, const std::function<void(World&)>& body, const std::string& strike) {
    try {
        body(world);
    } catch (...) {
        std::fprintf(stderr,
                     "chainring: the simulated world with seed %llu failed%s; to replay it: CHAINRING_SEED=%llu %s\n",
                     static_cast<unsigned long long>(world.seed()), strike.c_str(),
                     static_cast<unsigned long long>(world.seed()), program_invocation_name);
        const char* trace = std::getenv("CHAINRING_TRACE");
        if (trace && *trace) world.print_trace(std::cerr);
        throw;
    }
}

}  // namespace

void explore(std::uint64_t count, const std::function<void(World&)>& body, const WorldOptions& options) {
    std::uint64_t first = 1;
    if (const char* only = std::getenv("CHAINRING_SEED")) {
        first = std::strtoull(only, nullptr, 0);
        count = 1;
    }
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        World world(seed, options);
        run_one(world, body, "");
    }
}

std::uint64_t strike_everywhere(Strike kind, std::uint64_t seed, const std::function<void(World&)>& body,
                                const WorldOptions& options) {
    for (std::uint64_t nth = 1;; ++nth) {
        World world(seed, options);
        world.strike(kind, nth);
        run_one(world, body, ", struck at wait " + std::to_string(nth));
        if (!world.struck()) return nth - 1;
    }
}

}  // namespace sim
CHAINRING_END_NAMESPACE
