// SPDX-License-Identifier: BSL-1.0
// chat and a guest who does not read.
#include "tests/sim/samples.hpp"
#include "tests/sim/stage.hpp"

#include <cstddef>
#include <doctest/doctest.h>
#include <functional>
#include <string>
#include <system_error>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t port = 7000;
constexpr unsigned lines = 150;
constexpr std::size_t line_size = 4000;
constexpr std::size_t outbox_limit = 64 * 1024;
constexpr std::size_t buffers_of_kernels = 2 * 64 * 1024;  // of the simulated ones: sending and receiving

struct Evening {
    bool all_said = false;
    unsigned heard = 0;
    std::size_t read_late = 0;  // bytes, by the guest who does not read in time
    std::error_code end;        // of its connection
};

// In the room: a connection may end before it is accepted, which the next one need not.
Task<Link> enter(Address server) {
    for (;;) {
        auto link = (co_await Link::connect(server)).value();
        const auto notices = co_await link.recv().within(10ms);
        if (notices || notices.error() == Errc::timed_out) co_return link;
    }
}

Task<> be_slow(Evening* evening, Address server) {
    Link link = co_await enter(server);
    while (!evening->all_said) {
        const bool goes_on = co_await sleep_for(1s);
        if (!goes_on) co_return;
    }
    for (;;) {
        const auto chunk = co_await link.recv().within(1h);
        if (!chunk) {
            evening->end = chunk.error();
            co_return;
        }
        evening->read_late += chunk->size();
    }
}

Task<> hear(Evening* evening, Address server) {
    Link link = co_await enter(server);
    while (evening->heard < lines) {
        const auto line = co_await link.recv_until("\n", 2 * line_size).within(1h);
        if (!line) co_return;
        if (line->starts_with("guest-")) ++evening->heard;
    }
}

Task<> say(Evening* evening, Address server) {
    co_await sleep_for(1s);  // the others are there
    Link link = co_await enter(server);
    for (unsigned number = 0; number < lines; ++number) {
        const std::string line = std::string(line_size, 'x') + "\n";
        const auto sent = co_await link.send(line).within(1h);
        require(static_cast<bool>(sent), "somebody who does not read stops somebody who speaks");
        co_await sleep_for(25ms);  // a retransmission is no reason to be let go
    }
    while (evening->heard < lines) {
        const bool goes_on = co_await sleep_for(1s);
        if (!goes_on) co_return;
    }
    evening->all_said = true;
}

}  // namespace

TEST_CASE("a guest who does not read is let go at the limit of its outbox, and costs nobody else a line") {
    const Silence silence;
    CommandLine options("chat", "");
    options.outbox_limit = outbox_limit;
    sim::explore(50, [&](sim::World& world) {
        Evening evening;
        sim::Host& server = world.add_host("chat");
        sim::Host& slow = world.add_host("slow");
        sim::Host& quick = world.add_host("quick");
        sim::Host& loud = world.add_host("loud");
        server.start(serve_chat, std::cref(options));
        world.run_for(1ms);
        slow.start(be_slow, &evening, server.address(port));
        quick.start(hear, &evening, server.address(port));
        loud.start(say, &evening, server.address(port));
        const bool over = world.run_until([&] { return !slow.running() && !quick.running() && !loud.running(); }, 1h);
        INFO(world.dump());
        REQUIRE(over);
        CHECK(evening.heard == lines);
        CHECK(evening.end);
        CHECK(evening.end != Errc::eof);
        CHECK(evening.read_late < lines * line_size / 2);
        CHECK(evening.read_late <= outbox_limit + buffers_of_kernels);
        server.stop();
        world.run();
        CHECK(server.descriptors() == 0);
    });
}
