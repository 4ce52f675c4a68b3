// SPDX-License-Identifier: BSL-1.0
// The simulated world itself: hosts, time, faults, ends. What runs in it is ordinary code over Links.
#include <chainring/chainring.hpp>
#include <chainring/sim.hpp>

#include <algorithm>
#include <cstdlib>
#include <doctest/doctest.h>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
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
    auto listener = (co_await Listener::bind("0.0.0.0:7000")).value();
    co_await listener.serve(echo);
}

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// Asks `count` times and compares what comes back.
Task<> ask(Address server, unsigned count, unsigned* answers) {
    auto link = co_await Link::connect(server).within(20s);
    if (!link) co_return;
    for (unsigned number = 0; number < count; ++number) {
        const std::string question = "question " + std::to_string(number) + std::string(number * 7 % 900, '.');
        if (!co_await link->send(bytes_of(question))) co_return;
        std::vector<std::byte> answer(question.size());
        if (!co_await link->recv_exact(answer).within(60s)) co_return;
        REQUIRE(std::ranges::equal(answer, bytes_of(question)));
        ++*answers;
    }
}

struct EchoWorld {
    explicit EchoWorld(std::uint64_t seed, sim::WorldOptions options = {})
        : world(seed, options), server(world.add_host("server")), client(world.add_host("client")) {
        server.start(serve_echo);
    }
    void finish() {
        world.run_until([this] { return !client.running(); });
        server.stop();
        world.run();
    }
    sim::World world;
    sim::Host& server;
    sim::Host& client;
};

}  // namespace

TEST_CASE("an unchanged server answers its client in a simulated world") {
    EchoWorld in(1);
    unsigned answers = 0;
    in.client.start(ask, in.server.address(port), 20U, &answers);
    in.finish();
    CHECK(answers == 20);
    CHECK(in.world.sums().connections == 1);
    CHECK_FALSE(in.server.running());
    CHECK(in.server.descriptors() == 0);
}

TEST_CASE("the same seed gives the same run, another seed another one") {
    const auto run = [](std::uint64_t seed) {
        EchoWorld in(seed);
        unsigned answers = 0;
        in.client.start(ask, in.server.address(port), 20U, &answers);
        in.finish();
        return in.world.trace_hash();
    };
    CHECK(run(7) == run(7));
    CHECK(run(7) != run(8));
}

TEST_CASE("virtual hours pass in no time") {
    sim::World world(1);
    sim::Host& host = world.add_host("sleeper");
    host.start([]() -> Task<> {
        for (int day = 0; day < 30; ++day) (void)co_await sleep_for(24h);
    });
    world.run();
    CHECK(world.elapsed() >= 720h);
    CHECK(world.elapsed() < 721h);
}

TEST_CASE("a world in which nothing can happen any more says who waits for what") {
    sim::World world(1);
    sim::Host& host = world.add_host("forlorn");
    host.start([]() -> Task<> {
        Event never;
        (void)co_await never.wait();
    });
    std::string text;
    try {
        world.run();
    } catch (const sim::Stuck& stuck) {
        text = stuck.what();
    }
    CHECK(text.find("on forlorn:") != text.npos);
    CHECK(text.find("event") != text.npos);
    CHECK(text.find("seed 1") != text.npos);
}

TEST_CASE("a client of a host that is not there is refused, and one behind a partition times out") {
    sim::World world(3);
    sim::Host& server = world.add_host("server");
    sim::Host& client = world.add_host("client");
    std::error_code refused;
    std::error_code unanswered;
    Duration took{};
    const auto connect = [](Address to, std::error_code* error, Duration* duration) -> Task<> {
        const Instant start = now();
        auto link = co_await Link::connect(to);
        *error = link.error();
        *duration = now() - start;
    };
    client.start(connect, server.address(port), &refused, &took);
    world.run();
    CHECK(refused == std::errc::connection_refused);
    CHECK(took < 1s);
    world.partition(server, client);
    client.start(connect, server.address(port), &unanswered, &took);
    world.run();
    CHECK(unanswered == std::errc::timed_out);
    CHECK(took > 100s);
    CHECK(took < 200s);
}

TEST_CASE("a server that is killed is gone for its clients, and serves again when it is restarted") {
    EchoWorld in(5);
    unsigned answers = 0;
    in.client.start(ask, in.server.address(port), 1'000'000U, &answers);
    in.world.run_until([&] { return answers > 10; });
    in.server.kill();
    CHECK_FALSE(in.server.running());
    CHECK(in.world.run_until([&] { return !in.client.running(); }, 1min));
    const unsigned before = answers;
    in.server.restart();
    in.client.start(ask, in.server.address(port), 5U, &answers);
    in.finish();
    CHECK(answers == before + 5);
    CHECK(in.server.descriptors() == 0);
}

TEST_CASE("a machine without power is silent; when it is back, its old connections are reset") {
    EchoWorld in(6);
    unsigned answers = 0;
    in.client.start(ask, in.server.address(port), 1'000'000U, &answers);
    in.world.run_until([&] { return answers > 10; });
    in.server.power_off();
    in.world.run_for(1s);
    CHECK(in.client.running());
    in.server.power_on();
    CHECK(in.world.run_until([&] { return !in.client.running(); }, 10min));
    CHECK(in.client.descriptors() == 0);
}

TEST_CASE("a paused process loses nothing") {
    EchoWorld in(8);
    unsigned answers = 0;
    in.client.start(ask, in.server.address(port), 50U, &answers);
    in.world.run_until([&] { return answers > 10; });
    in.server.pause();
    const unsigned before = answers;
    in.world.run_for(5s);
    CHECK(answers <= before + 1);
    in.server.resume();
    in.finish();
    CHECK(answers == 50);
}

TEST_CASE("offload, timers, hops and sync work as they do outside") {
    sim::World world(9);
    sim::Host& host = world.add_host("host");
    int sum = 0;
    host.start(
        [](int* total) -> Task<> {
            Scope scope;
            Channel<int> channel(2);
            scope.spawn(
                [](Channel<int>* out) -> Task<> {
                    for (int number = 1; number <= 10; ++number) {
                        co_await resume_on(static_cast<unsigned>(number) % Runtime::current().workers());
                        auto squared = co_await offload([](int value) { return value * value; }, number);
                        (void)co_await sleep_for(10ms);
                        (void)co_await out->send(squared.value());
                    }
                    out->close();
                },
                &channel);
            while (auto value = co_await channel.recv()) *total += *value;
            co_await scope.join();
        },
        &sum);
    world.run();
    CHECK(sum == 385);
    CHECK(world.elapsed() >= 100ms);
    CHECK(world.elapsed() < 1s);
}

TEST_CASE("every wait of a client and its server may be cancelled, timed out, reset or killed") {
    for (const sim::Strike kind : {sim::Strike::cancel, sim::Strike::timeout, sim::Strike::reset, sim::Strike::kill}) {
        CAPTURE(kind);
        const std::uint64_t waits = sim::strike_everywhere(kind, 4, [](sim::World& world) {
            sim::Host& server = world.add_host("server");
            sim::Host& client = world.add_host("client");
            unsigned answers = 0;
            server.start(serve_echo);
            client.start(ask, server.address(port), 5U, &answers);
            REQUIRE(world.run_until([&] { return !client.running(); }, 1h));
            server.stop();
            world.run();
            CHECK(server.descriptors() == 0);
            CHECK(client.descriptors() == 0);
        });
        CHECK(waits > 10);
    }
}

namespace {

// Runs fn as the main task of a Runtime in a world of its own with that seed.
template <class Fn>
void in_own_world(unsigned seed, ManualClock* clock, Fn fn) {
    const char* variable = std::getenv("CHAINRING_SEED");
    const std::string saved = variable ? variable : "";
    ::setenv("CHAINRING_SEED", std::to_string(seed).c_str(), 1);
    RuntimeOptions options;
    options.workers = 1;
    options.backend = BackendKind::sim;
    options.clock = clock;
    Runtime runtime(options);
    if (variable)
        ::setenv("CHAINRING_SEED", saved.c_str(), 1);
    else
        ::unsetenv("CHAINRING_SEED");
    runtime.run(fn);
}

}  // namespace

TEST_CASE("a limit by a ManualClock that stands still does not hold up the world's time") {
    for (unsigned seed = 1; seed <= 10; ++seed) {
        ManualClock clock;
        in_own_world(seed, &clock, []() -> Task<> {
            auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
            auto near = (co_await Link::connect(listener.address()).within(10s)).value();
            auto far = (co_await listener.accept().within(10s)).value();
            (co_await near.send("x")).value();
            const auto chunk = co_await far.recv().within(10s);
            CHECK(chunk);
        });
    }
}

TEST_CASE("a world of one runtime that is stuck is taken down, however late its cancels take effect") {
    for (unsigned seed = 1; seed <= 10; ++seed) {
        CHECK_THROWS_AS(in_own_world(seed, nullptr,
                                     []() -> Task<> {
                                         auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
                                         (void)co_await listener.accept();
                                     }),
                        std::runtime_error);
    }
}

namespace {

// Says, to each, which worker it is served by.
Task<> serve_by_peer(std::vector<unsigned>* served) {
    ListenOptions options;
    options.spread = Spread::by_peer;
    auto listener = (co_await Listener::bind("0.0.0.0:7000", options)).value();
    co_await listener.serve(
        [](Link link, std::vector<unsigned>* counts) -> Task<> {
            const unsigned home = link.home();
            ++(*counts)[home];
            const std::string text = std::to_string(home);
            const auto sent = co_await link.send(text);
            if (sent) (void)co_await link.recv();
        },
        served);
}

Task<> ask_where(Address server, unsigned times) {
    std::string first;
    for (unsigned time = 0; time < times; ++time) {
        auto link = (co_await Link::connect(server)).value();
        const auto told = co_await link.recv();
        CHECK(told.error() == std::error_code());
        if (!told) co_return;
        if (first.empty()) first = told->to_string();
        CHECK(told->to_string() == first);
    }
}

}  // namespace

TEST_CASE("by_peer keeps each client at one worker, and uses all of them for many clients") {
    sim::WorldOptions kind;  // else some connections would be aborted before they are accepted
    kind.mischief = false;
    sim::World world(1, kind);
    RuntimeOptions options = sim::World::host_options();
    options.workers = 4;
    sim::Host& server = world.add_host("server", options);
    std::vector<unsigned> served(4);
    server.start(serve_by_peer, &served);
    world.run_for(1s);
    std::vector<sim::Host*> clients;
    for (unsigned number = 0; number < 40; ++number)
        clients.push_back(&world.add_host("client-" + std::to_string(number)));
    for (sim::Host* client : clients) client->start(ask_where, server.address(port), 5U);
    world.run_until([&] { return std::ranges::none_of(clients, &sim::Host::running); });
    server.stop();
    world.run();
    for (const unsigned count : served) {
        CHECK(count % 5 == 0);
        CHECK(count >= 25);  // of 200
    }
}
