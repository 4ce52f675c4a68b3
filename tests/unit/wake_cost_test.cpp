// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/wake_cost.hpp"

#include <doctest/doctest.h>

using namespace chainring;
using namespace std::chrono_literals;
using detail::WakeCost;

namespace {

void wake(WakeCost& cost, Duration latency) {
    const Instant sent(1s);
    cost.announced();
    cost.sent(sent);
    REQUIRE(cost.was_sent());
    cost.arrived(sent + latency);
}

}  // namespace

TEST_CASE("the cost of a wake comes near what wakes take, whatever it was at first") {
    for (const Duration first : {2us, 20us, 50us}) {
        WakeCost cost(first);
        for (int wakes = 0; wakes < 100; ++wakes) wake(cost, 8us);
        CHECK(cost.value() > 7us);
        CHECK(cost.value() < 9us);
    }
}

TEST_CASE("a few wakes that took long do not move the cost of a wake far") {
    WakeCost cost(8us);
    for (int wakes = 0; wakes < 100; ++wakes) wake(cost, wakes % 10 == 0 ? 5ms : Duration(8us));
    CHECK(cost.value() < 9us);
}

TEST_CASE("the cost of a wake has bounds") {
    WakeCost cost(20us);
    for (int wakes = 0; wakes < 100; ++wakes) wake(cost, 1s);
    CHECK(cost.value() == WakeCost::most);
    for (int wakes = 0; wakes < 100; ++wakes) wake(cost, 0us);
    CHECK(cost.value() == WakeCost::least);
}

TEST_CASE("a wake that was sent before the worker announced itself is forgotten") {
    WakeCost cost(20us);
    cost.sent(Instant(1s));
    cost.announced();
    CHECK_FALSE(cost.was_sent());
}
