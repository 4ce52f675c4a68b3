// SPDX-License-Identifier: BSL-1.0
// Connecting in a simulated world: names, several addresses, attempts until somebody listens, and connections that come
// back, whatever befalls the server.
#include <chainring/chainring.hpp>
#include <chainring/sim.hpp>

#include <doctest/doctest.h>
#include <optional>
#include <string>
#include <vector>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t port = 7000;

Task<> echo(Link link) {
    while (auto chunk = co_await link.recv().within(30s))
        if (!co_await link.send(std::move(*chunk))) break;
}

Task<> serve_echo() {
    auto listener = (co_await Listener::bind("[::]:7000")).value();  // IPv4, too
    co_await listener.serve(echo);
}

// How a dial ended, and how long it took.
struct Dialled {
    std::optional<std::error_code> error;
    Address peer;
    Duration took{};

    void end(const Result<Link>& link, Instant start) {
        error = link.error();
        took = now() - start;
        if (link) peer = link->peer().value();
    }
};

Task<> dial_name(std::string target, DialOptions options, Dialled* dialled) {
    const Instant start = now();
    const auto link = co_await dial(target, options);
    dialled->end(link, start);
}

Task<> dial_addresses(std::vector<Address> addresses, DialOptions options, Dialled* dialled) {
    const Instant start = now();
    const auto link = co_await dial(addresses, options);
    dialled->end(link, start);
}

sim::WorldOptions kind() {
    sim::WorldOptions options;
    options.mischief = false;
    return options;
}

}  // namespace

TEST_CASE("the name of a host is dialled, IPv6 and IPv4 taking turns; one that nobody has does not exist") {
    sim::World world(1, kind());
    sim::Host& server = world.add_host("server");
    sim::Host& client = world.add_host("client");
    server.start(serve_echo);
    Dialled found;
    client.start(dial_name, std::string("server:7000"), DialOptions{}, &found);
    world.run_until([&] { return !client.running(); });
    CHECK(found.error == std::error_code());
    CHECK((found.peer == server.address(port) || found.peer == server.address6(port)));
    Dialled unknown;
    client.start(dial_name, std::string("nobody:7000"), DialOptions{.retry = RetryPolicy{}}, &unknown);
    world.run_until([&] { return !client.running(); });
    CHECK(unknown.error == ResolveErrc::not_found);  // at once, though it may retry
    CHECK(unknown.took < 10ms);
    CHECK(client.descriptors() == 0);
    server.stop();
    world.run();
}

TEST_CASE("an address that is silent costs its head start, and its connection is not left behind") {
    sim::World world(2, kind());
    sim::Host& silent = world.add_host("silent");
    sim::Host& server = world.add_host("server");
    sim::Host& client = world.add_host("client");
    server.start(serve_echo);
    silent.power_off();
    Dialled dialled;
    std::vector<Address> both;
    both.push_back(silent.address(port));
    both.push_back(server.address(port));
    client.start(dial_addresses, both, DialOptions{.head_start = 250ms}, &dialled);
    world.run_until([&] { return !client.running(); });
    CHECK(dialled.peer == server.address(port));
    CHECK(dialled.took >= 250ms);
    CHECK(dialled.took < 260ms);
    CHECK(client.descriptors() == 0);
    server.stop();
    world.run();
}

TEST_CASE("a client that is started before its server is refused, waits 0.5, 1, 2 seconds, and is served") {
    sim::World world(3, kind());
    sim::Host& server = world.add_host("server");
    sim::Host& client = world.add_host("client");
    Dialled dialled;
    client.start(dial_name, server.address(port).to_string(), DialOptions{.retry = RetryPolicy{.jitter = 0}}, &dialled);
    world.run_for(1600ms);  // three attempts
    CHECK(world.sums().refused == 3);
    world.run_for(1800ms);
    CHECK(world.sums().refused == 3);
    CHECK(!dialled.error);
    server.start(serve_echo);
    world.run_until([&] { return !client.running(); });
    CHECK(dialled.error == std::error_code());
    CHECK(dialled.took >= 3500ms);
    CHECK(dialled.took < 3600ms);
    server.stop();
    world.run();
}

TEST_CASE("two addresses that answer at the same time make one Link, and leave no other connection") {
    sim::explore(100, [](sim::World& world) {
        sim::Host& one = world.add_host("one");
        sim::Host& two = world.add_host("two");
        sim::Host& client = world.add_host("client");
        one.start(serve_echo);
        two.start(serve_echo);
        world.run_for(1s);
        std::vector<Address> both;
        both.push_back(one.address(port));
        both.push_back(two.address(port));
        Dialled dialled;
        client.start(dial_addresses, both, DialOptions{.head_start = 0s}, &dialled);
        world.run_until([&] { return !client.running(); });
        REQUIRE(dialled.error == std::error_code());
        REQUIRE((dialled.peer == both[0] || dialled.peer == both[1]));
        REQUIRE(client.descriptors() == 0);
        world.run_for(1min);  // whatever was accepted of the loser has ended
        REQUIRE(one.links() + two.links() == 0);
        one.stop();
        two.stop();
        world.run();
    });
}

TEST_CASE("every wait of a dial may be cancelled, timed out or reset") {
    const auto body = [](sim::World& world) {
        sim::Host& silent = world.add_host("silent");
        sim::Host& server = world.add_host("server");
        sim::Host& client = world.add_host("client");
        server.start(serve_echo);
        silent.power_off();
        Dialled dialled;
        std::vector<Address> both;
        both.push_back(silent.address(port));
        both.push_back(server.address(port));
        client.start(dial_addresses, both, DialOptions{.retry = RetryPolicy{.attempts = 3}}, &dialled);
        world.run_until([&] { return !client.running(); });
        REQUIRE(dialled.error.has_value());
        server.stop();
        world.run();
        REQUIRE(client.descriptors() == 0);
        REQUIRE(server.descriptors() == 0);
    };
    for (const sim::Strike strike : {sim::Strike::cancel, sim::Strike::timeout, sim::Strike::reset})
        CHECK(sim::strike_everywhere(strike, 1, body) > 5);
}

namespace {

struct Sessions {
    unsigned begun = 0;
    unsigned answers = 0;
};

// Asks once a second, until it is told nothing more.
Task<> session(Link link, Sessions* sessions) {
    ++sessions->begun;
    for (;;) {
        const auto sent = co_await link.send("?");
        if (!sent) break;
        const auto answer = co_await link.recv().within(10s);
        if (!answer) break;
        ++sessions->answers;
        const bool goes_on = co_await sleep_for(1s);
        if (!goes_on) break;
    }
}

Task<> stay_connected(std::string target, Sessions* sessions) {
    ReconnectOptions options;
    options.attempt_limit = 5s;
    ReconnectingLink client(target, options);
    (void)co_await client.run(session, sessions);
}

}  // namespace

TEST_CASE("a reconnecting client is back within its longest pause, whatever has befallen its server") {
    sim::explore(30, [](sim::World& world) {
        sim::Host& server = world.add_host("server");
        sim::Host& client = world.add_host("client");
        Sessions sessions;
        client.start(stay_connected, std::string("server:7000"), &sessions);  // before anybody listens
        world.run_for(3s);
        server.start(serve_echo);
        for (unsigned blow = 0; blow < 8; ++blow) {
            const unsigned before = sessions.answers;
            // The longest pause, an attempt that finds nobody, and the time to notice that a peer is silent.
            REQUIRE(world.run_until([&] { return sessions.answers > before + 1; }, 90s));
            const Duration lasts = std::chrono::milliseconds(world.random() % 60'000);
            switch (world.random() % 4) {
                case 0:
                    server.kill();
                    world.run_for(lasts);
                    server.restart();
                    break;
                case 1:
                    server.power_off();
                    world.run_for(lasts);
                    server.power_on();
                    break;
                case 2:
                    world.partition(server, client);
                    world.run_for(lasts);
                    world.heal(server, client);
                    break;
                case 3:
                    (void)world.reset_connection(client);
                    break;
            }
            if (!server.running()) server.restart();
        }
        const unsigned before = sessions.answers;
        REQUIRE(world.run_until([&] { return sessions.answers > before + 1; }, 90s));
        client.stop();
        world.run_until([&] { return !client.running(); });
        REQUIRE(client.descriptors() == 0);
        server.stop();
        world.run();
        REQUIRE(server.descriptors() == 0);
    });
}
