// SPDX-License-Identifier: BSL-1.0
// pauses: uploads to a server that takes a rest now and then, so that its Link stops reading.
#include "tests/sim/scenarios.hpp"

#include <algorithm>
#include <string>

namespace scenarios {
namespace {

Task<> take_in(Link link, sim::World* world) {
    (void)co_await link.send("!");
    std::size_t total = 0;
    for (;;) {
        auto chunk = co_await link.recv();
        if (!chunk) break;
        const std::string text = chunk->to_string();
        hold(text == stream(total, text.size()), "bytes arrive as they were sent");
        total += text.size();
        *chunk = Chunk();
        if (below(*world, 4) == 0) (void)co_await sleep_for(up_to(*world, 3ms));
    }
    (void)co_await link.send(std::to_string(total) + '.');
}

Task<> serve_uploads(sim::World* world) {
    auto listener = (co_await Listener::bind(any_address)).value();
    co_await listener.serve(take_in, world);
}

Task<> send_stream(sim::World* world, Link* link, std::size_t total) {
    for (std::size_t sent = 0; sent < total;) {
        const std::size_t size = std::min<std::size_t>(1 + below(*world, 100'000), total - sent);
        const std::string part = stream(sent, size);
        const auto done = co_await link->send(part);
        hold(done.has_value(), "the stream can be sent");
        sent += size;
    }
    (void)co_await link->shutdown_write();
}

Task<> upload(sim::World* world, Address server, std::size_t total) {
    Link link = co_await enter(server);
    if (!link) co_return;
    co_await send_stream(world, &link, total);
    const auto counted = co_await link.recv_until(".", 20);
    hold(counted && *counted == std::to_string(total), "an upload is complete");
}

}  // namespace

void pauses(sim::World& world) {
    sim::Host& server = world.add_host("server", with_workers(2, 64, 4096));
    sim::Host& client = world.add_host("client");
    server.start(serve_uploads, &world);
    (void)world.run_until([&] { return server.descriptors() > 0; });
    client.start(upload, &world, server.address(port), std::size_t{1'000'000});
    play(world, server, client);
}

}  // namespace scenarios
