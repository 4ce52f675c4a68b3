// SPDX-License-Identifier: BSL-1.0
// Connections: how they are accepted, greeted, and made against limits.
#include "tests/sim/scenarios.hpp"

#include <algorithm>
#include <array>

namespace scenarios {
namespace {

// ---- accepts: short waits for a connection, one after the other; each client is greeted and answered

Task<> greet(Link link) {
    if (!co_await link.send("hello, ").within(30s)) co_return;
    while (auto chunk = co_await link.recv().within(30s))
        if (!co_await link.send(std::move(*chunk))) break;
}

Task<> accept_in_short_waits(sim::World* world) {
    auto listener = (co_await Listener::bind(any_address)).value();
    Scope scope;
    for (;;) {
        auto link = co_await listener.accept().within(10us + up_to(*world, 300us));
        if (link)
            scope.spawn(greet, std::move(*link));
        else if (link.error() != Errc::timed_out)
            break;
    }
    co_await scope.join();
}

struct Greeted {
    unsigned answered = 0;
    unsigned closed = 0;  // with the end of the stream instead of a greeting
};

Task<> be_greeted(sim::World* world, Address server, Greeted* sums) {
    (void)co_await sleep_for(up_to(*world, 5ms));
    auto link = co_await Link::connect(server).within(10s);
    if (!link) co_return;
    std::array<std::byte, 12> answer{};
    auto greeting = co_await link->recv_exact(std::span(answer).first(7)).within(10s);
    if (!greeting) {
        hold(greeting.error() != Errc::timed_out, "who is connected is answered");
        if (greeting.error() == Errc::eof) ++sums->closed;
        co_return;  // reset: it was aborted before it was accepted
    }
    if (!co_await link->send("world").within(10s)) co_return;
    const auto rest = co_await link->recv_exact(std::span(answer).last(5)).within(10s);
    if (rest && std::ranges::equal(answer, bytes_of("hello, world"))) ++sums->answered;
    (void)co_await link->shutdown_write();
    (void)co_await link->recv().within(10s);
}

Task<> many_are_greeted(sim::World* world, Address server, unsigned clients, Greeted* sums) {
    Scope scope;
    for (unsigned client = 0; client < clients; ++client) scope.spawn(be_greeted, world, server, sums);
    co_await scope.join();
}

// ---- greetings: one accept that waits for all of them

Task<> serve_greetings() {
    auto listener = (co_await Listener::bind(any_address)).value();
    co_await listener.serve(greet);
}

// ---- connects: connects against limits of about the time that they take

Task<> connect_in_time(sim::World* world, Address server) {
    for (unsigned count = 0; count < 30; ++count) {
        auto link = co_await Link::connect(server).within(300us + up_to(*world, 500us));
        if (link) co_await link->close().within(1s);
    }
}

}  // namespace

void accepts(sim::World& world) {
    sim::Host& server = world.add_host("server");
    sim::Host& client = world.add_host("client");
    server.start(accept_in_short_waits, &world);
    (void)world.run_until([&] { return server.descriptors() > 0; });
    Greeted sums;
    client.start(many_are_greeted, &world, server.address(port), 20U, &sums);
    play(world, server, client);
    hold(sums.closed == 0, "an accepted connection is not closed under its client");
    hold(sums.answered >= 15, "nearly every client is answered");
}

void greetings(sim::World& world) {
    sim::Host& server = world.add_host("server");
    sim::Host& client = world.add_host("client");
    server.start(serve_greetings);
    (void)world.run_until([&] { return server.descriptors() > 0; });
    Greeted sums;
    client.start(many_are_greeted, &world, server.address(port), 20U, &sums);
    play(world, server, client);
    hold(sums.answered >= 15, "nearly every client is answered");
}

void connects(sim::World& world) {
    sim::Host& server = world.add_host("server");
    sim::Host& client = world.add_host("client");
    server.start(serve_greetings);
    (void)world.run_until([&] { return server.descriptors() > 0; });
    client.start(connect_in_time, &world, server.address(port));
    play(world, server, client);
}

}  // namespace scenarios
