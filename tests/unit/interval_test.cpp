// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <vector>

using namespace support;

namespace {

// Ticks taken by a task that is `late` times kept from them; the clock moves in steps while it waits.
Task<> ticker(Interval* interval, std::vector<Duration>* taken, Instant start, int ticks) {
    for (; ticks > 0; --ticks) {
        const bool more = co_await interval->tick();
        if (!more) break;
        taken->push_back(now() - start);
    }
}

std::vector<Duration> ticks_taken(Missed missed, Duration stall, std::uint64_t* left_out) {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    std::vector<Duration> taken;
    in_runtime_with(
        options,
        [](ManualClock* time, Missed how, Duration blocked, std::vector<Duration>* out,
           std::uint64_t* count) -> Task<> {
            const Instant start = now();
            Interval interval(10ms, how);
            Scope scope;
            scope.spawn(ticker, &interval, out, start, 2);
            for (int step = 0; step < 20; ++step) {
                time->advance(1ms);
                co_await passes(2);
            }
            co_await scope.join();
            time->advance(blocked);  // nobody awaits a tick meanwhile
            Scope again;
            again.spawn(ticker, &interval, out, start, 4);
            for (int step = 0; step < 60; ++step) {
                co_await passes(8);
                time->advance(1ms);
            }
            again.cancel();
            co_await again.join();
            *count = interval.missed();
        },
        &clock, missed, stall, &taken, left_out);
    return taken;
}

}  // namespace

TEST_CASE("ticks come at start + n * period, whatever the work between them takes") {
    std::uint64_t missed = 0;
    const auto taken = ticks_taken(Missed::burst, 3ms, &missed);
    const std::vector<Duration> wanted{10ms, 20ms, 30ms, 40ms, 50ms, 60ms};
    CHECK(taken == wanted);
    CHECK(missed == 0);
}

TEST_CASE("after 35 ms without a taker: burst gives them at once, skip leaves them out, delay begins anew") {
    std::uint64_t missed = 0;
    CHECK(ticks_taken(Missed::burst, 35ms, &missed) == std::vector<Duration>{10ms, 20ms, 55ms, 55ms, 55ms, 60ms});
    CHECK(missed == 0);
    CHECK(ticks_taken(Missed::skip, 35ms, &missed) == std::vector<Duration>{10ms, 20ms, 55ms, 60ms, 70ms, 80ms});
    CHECK(missed == 2);
    CHECK(ticks_taken(Missed::delay, 35ms, &missed) == std::vector<Duration>{10ms, 20ms, 55ms, 65ms, 75ms, 85ms});
    CHECK(missed == 2);
}

TEST_CASE("a cancelled tick yields false") {
    in_runtime([]() -> Task<> {
        bool more = true;
        Scope scope;
        scope.spawn(
            [](bool* out) -> Task<> {
                Interval interval(1h);
                *out = co_await interval.tick();
            },
            &more);
        co_await passes(2);
        scope.cancel();
        co_await scope.join();
        CHECK(!more);
    });
}
