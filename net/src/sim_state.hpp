// SPDX-License-Identifier: BSL-1.0
// What is behind a sim::World and its Hosts: the simulation of runtime, and what the world knows of each host besides.
// The thread that drives the world.
#pragma once

#include <chainring/sim.hpp>

#include "runtime/src/sim/host.hpp"
#include "runtime/src/sim/network.hpp"
#include "runtime/src/sim/simulation.hpp"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace sim {

using detail::sim::Simulation;

struct Host::State {
    World::State& world;
    detail::sim::Machine& machine;
    detail::sim::Host& process;
    std::string name;
    RuntimeOptions options;
    Address ipv4;
    Address ipv6;
    unsigned descriptors = detail::sim::MachineLimits().descriptors;  // that it may have, but for a fault
};

struct World::State {
    State(std::uint64_t seed, const WorldOptions& chosen)
        : options(chosen),
          simulation(seed, chosen.mischief ? detail::sim::Mischief() : detail::sim::Mischief::none()),
          begin(simulation.timeline().now()) {
        const char* trace = std::getenv("CHAINRING_TRACE");
        if (options.keep_trace || (trace && *trace)) simulation.trace().keep(kept_events);
        simulation.network().set_default_conditions(conditions(options.wire));
    }

    static constexpr std::size_t kept_events = 1'000'000;  // the latest

    static detail::sim::Conditions conditions(const Wire& wire) noexcept {
        detail::sim::Conditions conditions;
        conditions.latency = wire.latency;
        conditions.jitter = wire.jitter;
        conditions.bandwidth = wire.bandwidth;
        return conditions;
    }

    // Between two events: what a main task threw.
    void look_at_failures() {
        for (const auto& host : simulation.hosts())
            if (const std::exception_ptr failure = host->take_failure()) std::rethrow_exception(failure);
    }
    std::size_t running() const noexcept {
        const auto& all = simulation.hosts();
        return static_cast<std::size_t>(
            std::count_if(all.begin(), all.end(), [](const auto& host) { return host->running(); }));
    }
    template <class Done>
    bool run(Instant until, bool may_idle, Done done) {
        const auto outcome = simulation.run(until, [&] {
            look_at_failures();
            return done();
        });
        if (outcome == Simulation::Outcome::stuck && !may_idle)
            throw Stuck("chainring: in the simulated world nothing can happen any more, and tasks wait (seed " +
                        std::to_string(simulation.seed()) + "):\n" + simulation.report());
        return outcome == Simulation::Outcome::done;
    }
    Host& pick() { return *hosts[static_cast<std::size_t>(simulation.random().below(hosts.size()))]; }

    WorldOptions options;
    Simulation simulation;
    Instant begin;
    std::vector<std::unique_ptr<Host, void (*)(Host*)>> hosts;
    std::uint64_t faults = 0;
};

}  // namespace sim
CHAINRING_END_NAMESPACE
