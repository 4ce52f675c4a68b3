// SPDX-License-Identifier: BSL-1.0
// sim::Host: a machine of the world, the process that runs on it, and the faults that befall them.
#include <chainring/sim.hpp>
#include <chainring/trap.hpp>

#include "net/src/sim_state.hpp"
#include "runtime/src/runtime_state.hpp"

#include <array>
#include <string>
#include <string_view>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace sim {

Host::Host(World& world, std::string name, const RuntimeOptions& options) {
    World::State& in = *world.state_;
    const std::string number = std::to_string(in.hosts.size() + 1);
    const std::string ipv4 = "10.0.0." + number;
    const std::string ipv6 = "fd00::" + number;
    const std::array<std::string_view, 2> addresses = {ipv4, ipv6};
    detail::sim::Machine& machine = in.simulation.network().add_machine(name, addresses);
    state_.reset(new State{in, machine, in.simulation.add_host(machine), std::move(name), options,
                           Address::parse(ipv4 + ":0").value(), Address::parse("[" + ipv6 + "]:0").value()});
}

Host::~Host() = default;

const std::string& Host::name() const noexcept {
    return state_->name;
}

Address Host::address(std::uint16_t port) const {
    Address address = state_->ipv4;
    address.set_port(port);
    return address;
}

Address Host::address6(std::uint16_t port) const {
    Address address = state_->ipv6;
    address.set_port(port);
    return address;
}

void Host::restart() {
    CHAINRING_REQUIRE(main_, "a host of the simulated world is restarted after it was started");
    const Simulation::Turn turn(state_->world.simulation);
    state_->process.start(state_->options, [this]() -> detail::Child& { return detail::make_child(main_); });
}

void Host::stop() noexcept {
    state_->process.request_stop();
}

void Host::kill() noexcept {
    ++state_->world.faults;
    const Simulation::Turn turn(state_->world.simulation);
    state_->process.kill();
}

void Host::power_off() noexcept {
    ++state_->world.faults;
    const Simulation::Turn turn(state_->world.simulation);
    state_->machine.power_off();
    state_->process.kill();
}

void Host::power_on() noexcept {
    state_->machine.power_on();
}

void Host::pause() noexcept {
    ++state_->world.faults;
    state_->process.stall_until(Instant::max());
}

void Host::resume() noexcept {
    state_->process.stall_until({});
}

bool Host::running() const noexcept {
    return state_->process.running();
}

void Host::limit_descriptors(unsigned most) noexcept {
    state_->descriptors = most;
    state_->machine.limits.descriptors = most;
}

void Host::slow_offload(Duration duration) noexcept {
    state_->process.slow_offload(duration);
}

Runtime& Host::runtime() const {
    CHAINRING_REQUIRE(running(), "no process runs on this host of the simulated world");
    return *state_->process.runtime();
}

std::size_t Host::links() const {
    std::size_t links = 0;
    if (running())
        for (unsigned worker = 0; worker < runtime().workers(); ++worker) links += runtime().metrics(worker).links;
    return links;
}

std::size_t Host::descriptors() const {
    return state_->machine.open_descriptors();
}

std::string Host::dump() const {
    return state_->process.report();
}

}  // namespace sim
CHAINRING_END_NAMESPACE
