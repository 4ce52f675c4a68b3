// SPDX-License-Identifier: BSL-1.0
#include <chainring/sim.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/sim/host.hpp"
#include "runtime/src/sim/network.hpp"
#include "runtime/src/sim/simulation.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <ostream>
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

// ---- Host

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

// ---- World

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

// ---- the network

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
