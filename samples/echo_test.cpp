// SPDX-License-Identifier: BSL-1.0
// How a user tests a server: the echo sample as it is, in simulated worlds where the network misbehaves. Whatever
// happens, what a client gets back is what it sent, as far as it comes. docs/simulation.md explains it step by step.
#define main echo_main  // the sample's own; only its coroutines are wanted here
#include "samples/echo.cpp"
#undef main

#include <chainring/sim.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

Task<> serve() {
    auto listener = (co_await Listener::bind("0.0.0.0:7000")).value();
    co_await listener.serve(echo);
}

// Sends `size` bytes in pieces of random sizes while it receives; counts what came back.
Task<> talk(Address server, std::size_t size, std::size_t* echoed) {
    auto link = co_await Link::connect(server).within(1min);
    if (!link) co_return;
    const auto byte_at = [](std::size_t place) { return std::byte(place * 31 % 251); };
    Scope sending;
    sending.spawn(
        [](Link* to, std::size_t total, std::byte (*make)(std::size_t)) -> Task<> {
            for (std::size_t sent = 0; sent < total;) {
                std::vector<std::byte> piece(std::min<std::size_t>(1 + chainring::random() % 700, total - sent));
                for (std::byte& byte : piece) byte = make(sent++);
                if (!co_await to->send(piece)) co_return;
            }
            (void)co_await to->shutdown_write();
        },
        &*link, size, +byte_at);
    while (auto chunk = co_await link->recv().within(1h))
        for (const char letter : chunk->to_string())
            if (std::byte(letter) != byte_at((*echoed)++)) throw std::runtime_error("a wrong byte came back");
    sending.cancel();
    co_await sending.join();
}

void echoes(sim::World& world) {
    constexpr std::size_t clients = 4;
    constexpr std::size_t size = 20'000;
    std::size_t echoed[clients] = {};
    sim::Host& server = world.add_host("server");
    server.start(serve);
    for (std::size_t client = 0; client < clients; ++client)
        world.add_host("client-" + std::to_string(client)).start(talk, server.address(7000), size, &echoed[client]);
    const bool faults = world.seed() % 4 != 0;
    if (faults) world.misbehave(4, 100ms);
    if (!world.run_until([&] { return world.running() == 1; })) throw std::runtime_error("a client waits for ever");
    server.stop();
    world.run();
    for (const std::size_t bytes : echoed)
        if (bytes > size || (bytes < size && !faults && world.sums().resets == 0))
            throw std::runtime_error("not what was sent came back");
    if (server.descriptors() > 0) throw std::runtime_error("a connection is left");
}

}  // namespace

int main() {
    constexpr unsigned seeds = 100;
    sim::explore(seeds, echoes);
    std::printf("echo_test: %u worlds, no byte lost or wrong\n", seeds);
}
