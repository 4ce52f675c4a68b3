// SPDX-License-Identifier: BSL-1.0
// Deadlines that reach down, shielded regions, stop tokens.
#include "tests/unit/support.hpp"

#include <stop_token>
#include <thread>

using namespace support;

namespace {

RuntimeOptions with_clock(ManualClock& clock) {
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    return options;
}

Task<> advance_later(ManualClock* clock, Duration duration) {
    co_await passes(3);
    clock->advance(duration);
}

Task<std::error_code> recv_below(Link* link) {
    auto chunk = co_await link->recv();
    co_return chunk ? std::error_code() : chunk.error();
}

}  // namespace

TEST_CASE("a deadline ends every await below it: operations, sleeps, primitives, children") {
    ManualClock clock;
    in_runtime_with(
        with_clock(clock),
        [](ManualClock* time) -> Task<> {
            auto pair = co_await connected();
            Scope helpers;
            {
                const Deadline deadline(10s);
                CHECK(Deadline::current() == now() + 10s);
                helpers.spawn(advance_later, time, 11s);
                const auto error = co_await recv_below(&pair.near);
                CHECK(error == Errc::timed_out);
                CHECK(Deadline::passed());
                // Begun after it: one try, then timed_out.
                Semaphore permits(1);
                CHECK((co_await permits.acquire()).has_value());
                CHECK((co_await permits.acquire()).error() == Errc::timed_out);
                const bool whole = co_await sleep_for(1s);
                CHECK(!whole);
                std::error_code child_error;
                Scope scope;
                scope.spawn(
                    [](Link* link, std::error_code* error_of_child) -> Task<> {
                        *error_of_child = co_await recv_below(link);
                    },
                    &pair.near, &child_error);
                co_await scope.join();
                CHECK(child_error == Errc::timed_out);
            }
            CHECK(Deadline::current() == Instant::max());
            helpers.spawn(advance_later, time, 2s);
            const bool whole = co_await sleep_for(1s);
            CHECK(whole);
            co_await helpers.join();
        },
        &clock);
}

TEST_CASE("a deadline narrows and never widens; an operation's own limit counts too") {
    ManualClock clock;
    in_runtime_with(
        with_clock(clock),
        [](ManualClock* time) -> Task<> {
            const Deadline outer(10s);
            {
                const Deadline wider(1h);
                CHECK(Deadline::current() == now() + 10s);
                const Deadline narrower(now() + 5s);
                CHECK(Deadline::current() == now() + 5s);
            }
            CHECK(Deadline::current() == now() + 10s);
            Event never;
            Scope helpers;
            helpers.spawn(advance_later, time, 2s);
            auto waited = co_await never.wait().within(1s);
            CHECK(waited.error() == Errc::timed_out);
            CHECK(!Deadline::passed());
            co_await helpers.join();
        },
        &clock);
}

TEST_CASE("in a shielded region neither cancel nor deadline arrives; afterwards both count") {
    ManualClock clock;
    in_runtime_with(
        with_clock(clock),
        [](ManualClock* time) -> Task<> {
            struct Seen {
                bool inside = false;
                bool child_inside = false;
                bool after = true;
                bool outer_child = true;
            } seen;
            Scope scope;
            scope.spawn(
                [](Seen* out, ManualClock*) -> Task<> {
                    Scope outer;
                    outer.spawn([](bool* whole) -> Task<> { *whole = co_await sleep_for(1h); }, &out->outer_child);
                    const Deadline deadline(500ms);
                    co_await shielded([](Seen* in) -> Task<> {
                        Scope inner;
                        inner.spawn([](bool* whole) -> Task<> { *whole = co_await sleep_for(2s); }, &in->child_inside);
                        in->inside = co_await sleep_for(1s);
                        co_await inner.join();
                    }(out));
                    out->after = co_await sleep_for(1ms);
                    co_await outer.join();
                },
                &seen, time);
            co_await passes(3);
            scope.cancel();
            co_await passes(3);
            time->advance(1s);
            co_await passes(3);
            time->advance(1s);
            co_await scope.join();
            CHECK(seen.inside);
            CHECK(seen.child_inside);
            CHECK(!seen.after);
            CHECK(!seen.outer_child);
        },
        &clock);
}

TEST_CASE("a shielded region of a task that is already cancelled runs whole, and yields its value") {
    in_runtime([]() -> Task<> {
        int value = 0;
        Scope scope;
        scope.cancel();
        scope.spawn(
            [](int* out) -> Task<> {
                const bool before = co_await sleep_for(1ms);
                *out = co_await shielded([]() -> Task<int> {
                    const bool whole = co_await sleep_for(1ms);
                    co_return whole ? 1 : -1;
                }());
                const bool after = co_await sleep_for(1ms);
                if (before || after) *out = -2;
            },
            &value);
        co_await scope.join();
        CHECK(value == 1);
    });
}

TEST_CASE("a stop token ends the waits that carry it, and no other") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        StopSource source;
        Event never;
        std::error_code stopped;
        bool slept = true;
        bool other = false;
        Scope scope;
        scope.spawn(
            [](Link* link, StopSource* stop, std::error_code* error) -> Task<> {
                auto chunk = co_await link->recv().within(1h).stop_on(stop->token());
                *error = chunk.error();
            },
            &pair.near, &source, &stopped);
        scope.spawn(
            [](StopSource* stop, bool* whole) -> Task<> { *whole = co_await sleep_for(1h).stop_on(stop->token()); },
            &source, &slept);
        scope.spawn([](bool* whole) -> Task<> { *whole = co_await sleep_for(3ms); }, &other);
        co_await passes(3);
        CHECK(source.request_stop());
        CHECK(!source.request_stop());
        co_await scope.join();
        CHECK(stopped == Errc::cancelled);
        CHECK(!slept);
        CHECK(other);
        // Begun after the stop: what is there is taken, else it ends at once.
        (void)co_await pair.far.send("x");
        auto arrived = co_await pair.near.recv();
        CHECK(arrived.has_value());
        auto chunk = co_await pair.near.recv().stop_on(source.token());
        CHECK(chunk.error() == Errc::cancelled);
        auto waited = co_await never.wait().stop_on(source.token());
        CHECK(waited.error() == Errc::cancelled);
        never.set();
        auto set = co_await never.wait().stop_on(source.token());
        CHECK(set.has_value());
    });
}

TEST_CASE("a std::stop_token works as well, from a foreign thread" * not_simulated()) {
    in_runtime([]() -> Task<> {
        std::stop_source source;
        Event never;
        std::thread foreign([&source] { source.request_stop(); });
        auto waited = co_await never.wait().stop_on(source.get_token());
        CHECK(waited.error() == Errc::cancelled);
        foreign.join();
        auto again = co_await never.wait().stop_on(source.get_token());
        CHECK(again.error() == Errc::cancelled);
    });
}

TEST_CASE("a stop that races the end of the wait loses nothing and leaves no trace") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        int granted = 0;
        int refused = 0;
        for (int round = 0; round < 3000; ++round) {
            StopSource source;
            Semaphore permits(0);
            Scope scope;
            scope.spawn_on(
                1,
                [](StopSource* stop, int pauses) -> Task<> {
                    for (; pauses > 0; --pauses) co_await yield();
                    stop->request_stop();
                },
                &source, round % 3);
            scope.spawn(
                [](Semaphore* give, int pauses) -> Task<> {
                    for (; pauses > 0; --pauses) co_await yield();
                    give->release();
                },
                &permits, round % 5);
            auto taken = co_await permits.acquire().stop_on(source.token());
            co_await scope.join();
            const bool left = permits.try_acquire();
            CHECK(left != taken.has_value());
            ++(taken ? granted : refused);
        }
        MESSAGE("granted " << granted << ", stopped " << refused);
        CHECK(granted + refused == 3000);
    });
}
