// SPDX-License-Identifier: BSL-1.0
// What the scenarios share.
#include "tests/sim/scenarios.hpp"

#include <array>
#include <utility>

namespace scenarios {

std::string broken;

void hold(bool condition, std::string_view property) {
    if (!condition && broken.empty()) broken = property;
}

RuntimeOptions with_workers(unsigned workers, unsigned buffers, unsigned buffer_size) {
    RuntimeOptions options = sim::World::host_options();
    options.workers = workers;
    options.recv_buffers = buffers;
    options.recv_buffer_size = buffer_size;
    return options;
}

void play(sim::World& world, sim::Host& server, sim::Host& client) {
    hold(world.run_until([&] { return !client.running(); }, 10min), "the client comes to its end");
    server.stop();
    hold(world.run_until([&] { return !server.running(); }, 1min), "the server stops");
    hold(server.descriptors() == 0 && client.descriptors() == 0, "no descriptor is left open");
}

Task<Link> enter(Address server) {
    for (unsigned attempts = 0; attempts < 20; ++attempts) {
        auto link = co_await Link::connect(server).within(10s);
        if (!link) continue;
        std::array<std::byte, 1> welcome{};
        const auto welcomed = co_await link->recv_exact(welcome).within(10s);
        if (welcomed) co_return std::move(*link);
        hold(welcomed.error() != Errc::timed_out, "who is connected is answered");
    }
    hold(false, "who is connected is answered");
    co_return Link();
}

}  // namespace scenarios
