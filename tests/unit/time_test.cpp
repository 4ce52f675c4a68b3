// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

using namespace support;

namespace {

struct Timed {
    explicit Timed() {
        options = one_worker();
        options.clock = &clock;
    }
    ManualClock clock;
    RuntimeOptions options;
};

Task<> note_after(Duration duration, int id, std::string* order) {
    const bool whole = co_await sleep_for(duration);
    if (whole) *order += std::to_string(id);
}

Task<> note_at(Instant at, char name, std::string* order) {
    if (!co_await sleep_until(at)) co_return;
    CHECK(now() >= at);
    *order += name;
}

// A byte to and fro, so many times: as many waits of the worker, or more.
Task<> exchange(Pair* pair, int times) {
    constexpr std::string_view byte = "b";
    for (int round = 0; round < times; ++round) {
        (co_await pair->near.send(byte)).value();
        const std::string there = co_await recv_text(&pair->far, 1);
        (co_await pair->far.send(byte)).value();
        const std::string back = co_await recv_text(&pair->near, 1);
    }
}

}  // namespace

TEST_CASE("sleeps end in the order of their instants and only when the clock has reached them") {
    Timed timed;
    in_runtime_with(
        timed.options,
        [](ManualClock* clock) -> Task<> {
            std::string order;
            Scope scope;
            scope.spawn(note_after, 3s, 3, &order);
            scope.spawn(note_after, 1s, 1, &order);
            scope.spawn(note_after, 2s, 2, &order);
            co_await yield();
            clock->advance(999ms);
            co_await passes(3);
            CHECK(order.empty());
            clock->advance(1ms);
            co_await passes(3);
            CHECK(order == "1");
            clock->advance(1h);
            co_await scope.join();
            CHECK(order == "123");
        },
        &timed.clock);
}

TEST_CASE("a sleep of nothing, or until the past, ends at once") {
    in_runtime([]() -> Task<> {
        CHECK(co_await sleep_for(0s));
        CHECK(co_await sleep_for(-1s));
        CHECK(co_await sleep_until(now() - 1h));
    });
}

TEST_CASE("a sleep is never early") {
    in_runtime([]() -> Task<> {
        for (int round = 0; round < 20; ++round) {
            const Instant start = now();
            co_await sleep_for(500us);
            CHECK(now() - start >= 500us);
        }
    });
}

TEST_CASE("now() is the runtime's clock") {
    Timed timed;
    in_runtime_with(
        timed.options,
        [](ManualClock* clock) -> Task<> {
            const Instant start = now();
            clock->advance(5s);
            CHECK(now() - start == 5s);
            co_return;
        },
        &timed.clock);
}

TEST_CASE("a limit beyond the end of time is none") {
    in_runtime([]() -> Task<> {
        Event event;
        event.set();
        CHECK(co_await event.wait().within(Duration::max()));
    });
}

TEST_CASE("a task that yields for ever delays timers and posts by no more than a pass") {
    Timed timed;
    in_runtime_with(
        timed.options,
        [](ManualClock* clock) -> Task<> {
            bool stop = false;
            Scope scope;
            for (int task = 0; task < 3; ++task)
                scope.spawn(
                    [](bool* end) -> Task<> {
                        while (!*end) co_await yield();
                    },
                    &stop);
            std::string order;
            scope.spawn(note_after, 1s, 1, &order);
            co_await yield();
            const std::uint64_t before = metrics().passes;
            clock->advance(1s);
            while (order.empty()) co_await yield();
            CHECK(metrics().passes - before <= 2);
            stop = true;
            co_await scope.join();
        },
        &timed.clock);
}

// A backend may keep a deadline that is waited for again and again (uring/alarm.hpp).
TEST_CASE(
    "a deadline that messages interrupt the wait for ends in its time, as do earlier and later ones set meanwhile") {
    in_runtime([]() -> Task<> {
        Pair pair = co_await connected();
        std::string order;
        for (int round = 0; round < 3; ++round) {
            order.clear();
            Scope scope;
            scope.spawn(note_at, now() + 80ms, 'c', &order);
            co_await exchange(&pair, 10);
            scope.spawn(note_at, now() + 160ms, 'd', &order);
            co_await exchange(&pair, 10);
            scope.spawn(note_at, now() + 10ms, 'a', &order);
            co_await exchange(&pair, 10);
            scope.spawn(note_at, now() + 1ms, 'b', &order);
            co_await exchange(&pair, 1);
            while (order.size() < 4) co_await exchange(&pair, 1);
            co_await scope.join();
            CHECK(order.back() == 'd');
        }
    });
}

TEST_CASE("a deadline that was waited for again and again and is then taken back ends nothing") {
    in_runtime([]() -> Task<> {
        Pair pair = co_await connected();
        const Instant end = now() + 60ms;
        {
            Scope scope;
            std::string order;
            scope.spawn(note_at, now() + 20ms, 'x', &order);
            co_await exchange(&pair, 10);
            scope.cancel();
            co_await scope.join();
        }
        CHECK(co_await sleep_until(end));
        CHECK(now() >= end);
        std::string order;
        co_await note_at(now() + 5ms, 'y', &order);
        CHECK(order == "y");
    });
}
