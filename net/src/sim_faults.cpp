// SPDX-License-Identifier: BSL-1.0
// sim::World: its network, whose ways can be made slow and cut, and the faults that the seed brings.
#include <chainring/sim.hpp>

#include "net/src/sim_state.hpp"

#include <algorithm>
#include <array>

CHAINRING_BEGIN_NAMESPACE
namespace sim {

void World::wire(const Host& from, const Host& to, const Wire& wire) {
    detail::sim::Network& network = state_->simulation.network();
    detail::sim::Conditions conditions = State::conditions(wire);
    conditions.blocked = network.conditions(from.state_->machine, to.state_->machine).blocked;
    network.set_conditions(from.state_->machine, to.state_->machine, conditions);
}

void World::cut(const Host& from, const Host& to) {
    ++state_->faults;
    state_->simulation.network().block(from.state_->machine, to.state_->machine);
}

void World::mend(const Host& from, const Host& to) {
    state_->simulation.network().heal(from.state_->machine, to.state_->machine);
}

void World::partition(const Host& one, const Host& other) {
    cut(one, other);
    state_->simulation.network().block(other.state_->machine, one.state_->machine);
}

void World::heal(const Host& one, const Host& other) {
    mend(one, other);
    mend(other, one);
}

void World::heal() {
    for (const auto& from : state_->hosts)
        for (const auto& to : state_->hosts) {
            if (from == to) continue;
            mend(*from, *to);
            wire(*from, *to, state_->options.wire);
        }
}

bool World::reset_connection(const Host& host) {
    ++state_->faults;
    return host.state_->process.reset_connection();
}

// ---- faults by the seed

void World::misbehave(unsigned count, Duration duration) {
    Simulation& simulation = state_->simulation;
    const auto within = static_cast<std::uint64_t>(std::max<Duration::rep>(duration.count(), 1));
    for (unsigned fault = 0; fault < count; ++fault) {
        const Duration begins(simulation.random().below(within));
        const Duration lasts(1 + simulation.random().below(within));
        const std::uint64_t kind = simulation.random().below(6);
        simulation.later(begins, [this, kind, lasts] {
            Host& one = state_->pick();
            Host& other = state_->pick();
            const auto after = [this, lasts](auto mend) { state_->simulation.later(lasts, mend); };
            switch (kind) {
                case 0:
                    partition(one, other);
                    after([this, &one, &other] { heal(one, other); });
                    return;
                case 1:
                    cut(one, other);
                    after([this, &one, &other] { mend(one, other); });
                    return;
                case 2:
                    reset_connection(one);
                    return;
                case 3: {
                    ++state_->faults;
                    Wire slow;
                    slow.latency = std::chrono::milliseconds(50);
                    slow.jitter = std::chrono::milliseconds(200);
                    slow.bandwidth = 20'000;
                    wire(one, other, slow);
                    after([this, &one, &other] { wire(one, other, state_->options.wire); });
                    return;
                }
                case 4: {
                    ++state_->faults;
                    unsigned& limit = one.state_->machine.limits.descriptors;
                    limit = std::min(limit, static_cast<unsigned>(state_->simulation.random().below(10)));
                    after([&one] { one.state_->machine.limits.descriptors = one.state_->descriptors; });
                    return;
                }
                default:
                    one.pause();
                    after([&one] { one.resume(); });
                    return;
            }
        });
    }
}

void World::strike(Strike kind, std::uint64_t nth) noexcept {
    constexpr std::array kinds = {detail::sim::Strike::cancel, detail::sim::Strike::timeout, detail::sim::Strike::reset,
                                  detail::sim::Strike::kill};
    state_->simulation.strike(kinds[static_cast<std::size_t>(kind)], nth);
}

bool World::struck() const noexcept {
    return state_->simulation.struck();
}

}  // namespace sim
CHAINRING_END_NAMESPACE
