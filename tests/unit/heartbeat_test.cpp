// SPDX-License-Identifier: BSL-1.0
// Heartbeats: when a silent peer counts as dead, and that a slow one does not.
#include <chainring/heartbeat.hpp>

#include "tests/unit/support.hpp"

#include <random>

using namespace support;

namespace {

HeartbeatOptions options_of(Duration shortest, Duration longest, unsigned misses) {
    HeartbeatOptions options;
    options.shortest = shortest;
    options.longest = longest;
    options.misses = misses;
    return options;
}

Task<> watch(Heartbeat* heart, Link* link, std::error_code* end) {
    *end = co_await heart->watch(*link, link->outbox(), Payload("ping"));
}

// Receives, and tells the heart of it, until the Link ends.
Task<> hear(Heartbeat* heart, Link* link, std::error_code* end) {
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) {
            *end = chunk.error();
            co_return;
        }
        heart->heard();
    }
}

struct Watched {
    explicit Watched(const HeartbeatOptions& options) : heart(options) {}
    Heartbeat heart;
    Pair pair;
    std::error_code watch_end;
    std::error_code recv_end;
    unsigned pings = 0;
};

// The peer takes what has come, and says how many pings that were.
Task<> take_pings(Watched* watched) {
    std::array<std::byte, 4> ping{};
    for (;;) {
        const auto got = co_await watched->pair.far.recv_exact(ping).within(0s);
        if (!got) co_return;
        ++watched->pings;
        CHECK(as_text(ping) == "ping");
    }
}

}  // namespace

TEST_CASE("the interval of a Heartbeat grows while it hears, and shrinks with each miss") {
    HeartbeatPace pace(options_of(1s, 5s, 3));
    CHECK(pace.interval() == 1s);
    for (const Duration next : {2s, 4s, 5s, 5s}) {
        CHECK(pace.beat(true));
        CHECK(pace.interval() == next);
    }
    CHECK(pace.beat(false));
    CHECK(pace.interval() == 2500ms);
    CHECK(pace.beat(false));
    CHECK(pace.interval() == 1250ms);
    CHECK(pace.missed() == 2);
    CHECK(pace.beat(true));
    CHECK(pace.missed() == 0);
    CHECK(pace.interval() == 2500ms);
    CHECK(pace.beat(false));
    CHECK(pace.beat(false));
    CHECK(!pace.beat(false));
    CHECK(pace.interval() == 1s);
}

TEST_CASE("a peer that stops is found dead in time, and one that answers in time never is") {
    std::mt19937 random(11);
    const auto below = [&random](long bound) {
        return static_cast<long>(random() % static_cast<unsigned long>(bound));
    };
    for (unsigned round = 0; round < 2000; ++round) {
        const Duration shortest = std::chrono::milliseconds(1 + below(2000));
        const HeartbeatOptions options = options_of(shortest, shortest + std::chrono::milliseconds(below(60'000)),
                                                    1 + static_cast<unsigned>(below(6)));
        HeartbeatPace pace(options);
        // The peer answers each ping after a delay of its own, until it stops.
        const Duration worst = options.misses * options.shortest - Duration(1);
        const Duration stops = std::chrono::milliseconds(below(500'000));
        std::vector<Duration> answers;
        Duration time{0};
        bool alive = true;
        while (alive) {
            const Duration answer = time + Duration(below(worst.count()));
            if (time < stops) answers.push_back(answer);
            const Duration begin = time;
            time += pace.interval();
            bool heard = false;
            for (const Duration at : answers) heard |= at >= begin && at < time;
            alive = pace.beat(heard);
            REQUIRE((alive || time > stops));
        }
        // The last answer may come late, too.
        CHECK(time < stops + worst + 3 * options.longest + options.misses * options.shortest);
    }
}

TEST_CASE("a peer that no longer answers is pinged less and less patiently, then the Link is reset") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            Watched watched(options_of(1s, 4s, 3));
            watched.pair = co_await connected();
            Scope scope;
            scope.spawn(watch, &watched.heart, &watched.pair.near, &watched.watch_end);
            scope.spawn(hear, &watched.heart, &watched.pair.near, &watched.recv_end);
            co_await passes(10);
            // It answers: 1 s, 2 s, 4 s, 4 s.
            for (const Duration interval : {1s, 2s, 4s, 4s}) {
                (co_await watched.pair.far.send("pong")).value();
                co_await passes(10);
                time->advance(interval - 1ms);
                co_await passes(10);
                const unsigned before = watched.pings;
                co_await take_pings(&watched);
                CHECK(watched.pings == before + 1);
                time->advance(1ms);
                co_await passes(10);
            }
            co_await take_pings(&watched);
            CHECK(watched.pings == 5);
            // No more: 4 s, 2 s, 1 s.
            time->advance(4s);
            co_await passes(10);
            time->advance(2s);
            co_await passes(10);
            co_await take_pings(&watched);
            CHECK(watched.pings == 7);
            CHECK(!watched.watch_end);
            time->advance(999ms);
            co_await passes(10);
            CHECK(!watched.watch_end);
            time->advance(1ms);
            co_await scope.join();
            CHECK(watched.watch_end == Errc::timed_out);
            CHECK(watched.recv_end == Errc::closed);
            const auto reset = co_await watched.pair.far.recv();
            CHECK(reset.error() == std::errc::connection_reset);
        },
        &clock);
}

TEST_CASE("a Heartbeat ends with its task and with its Link") {
    in_runtime([]() -> Task<> {
        Watched watched(options_of(1h, 1h, 3));
        watched.pair = co_await connected();
        Scope cancelled;
        cancelled.spawn(watch, &watched.heart, &watched.pair.near, &watched.watch_end);
        co_await passes(3);
        cancelled.cancel();
        co_await cancelled.join();
        CHECK(watched.watch_end == Errc::cancelled);
        watched.pair.near.abort();
        co_await passes(3);
        Scope closed;
        closed.spawn(watch, &watched.heart, &watched.pair.near, &watched.watch_end);
        co_await closed.join();
        CHECK(watched.watch_end == Errc::closed);
    });
}

TEST_CASE("each ping may be another") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Heartbeat heart(options_of(1ms, 1ms, 1000));
        unsigned number = 0;
        Scope scope;
        scope.spawn(
            [](Heartbeat* of, Link* link, unsigned* count) -> Task<> {
                const std::error_code end = co_await of->watch(
                    *link, link->outbox(), [](unsigned* next) { return Payload(std::to_string(++*next) + "\n"); },
                    count);
                CHECK(end == Errc::cancelled);
            },
            &heart, &pair.near, &number);
        for (const std::string_view expected : {"1", "2", "3"})
            CHECK((co_await pair.far.recv_until("\n", 10)).value() == expected);
        scope.cancel();
        co_await scope.join();
    });
}
