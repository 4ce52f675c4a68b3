// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/sim/random.hpp"
#include "runtime/src/sim/timeline.hpp"
#include "runtime/src/sim/trace.hpp"
#include "tests/unit/support.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

using namespace chainring;
using namespace chainring::detail::sim;
using namespace std::chrono_literals;

TEST_CASE("a seed draws the same numbers everywhere") {
    Random random(1);
    // From the definition of xoshiro256** and splitmix64, computed apart.
    CHECK(random.next() == 0xb3f2'af6d'0fc7'10c5);
    CHECK(random.next() == 0x853b'5596'4736'4cea);
    CHECK(random.next() == 0x92f8'9756'082a'4514);
    Random other(2);
    CHECK(other.next() != Random(1).next());
}

TEST_CASE("random numbers stay in their bounds, and every one of them comes") {
    Random random(7);
    std::array<int, 6> seen{};
    for (int turn = 0; turn < 6000; ++turn) ++seen[random.between(0, 5)];
    for (const int times : seen) CHECK((times > 850 && times < 1150));
    CHECK(random.between(9, 9) == 9);
    CHECK_FALSE(random.chance(0, 10));
    CHECK(random.chance(10, 10));
    std::array<int, 5> cards = {1, 2, 3, 4, 5};
    random.shuffle(cards);
    std::sort(cards.begin(), cards.end());
    CHECK(cards == std::array<int, 5>{1, 2, 3, 4, 5});
}

TEST_CASE("what is due at one instant happens in the order of its scheduling, at that instant") {
    Timeline timeline;
    std::vector<int> order;
    const Instant at = timeline.now() + 10ms;
    timeline.call_at(at, [&] {
        order.push_back(1);
        CHECK(timeline.now() == at);
        timeline.call_at(at, [&] { order.push_back(4); });
        timeline.call_at(at + 1ms, [&] { order.push_back(5); });
    });
    timeline.call_at(at, [&] { order.push_back(2); });
    const CallId cancelled = timeline.call_at(at, [&] { order.push_back(99); });
    timeline.call_at(at, [&] { order.push_back(3); });
    timeline.call_at(timeline.now() + 1ms, [&] { order.push_back(0); });
    CHECK(timeline.cancel(cancelled));
    CHECK_FALSE(timeline.cancel(cancelled));
    CHECK(timeline.next() == timeline.now() + 1ms);
    timeline.advance_to(at + 1ms);
    CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5});
    CHECK(timeline.next() == Instant::max());
    CHECK(timeline.now() == at + 1ms);
}

TEST_CASE("a thousand events in any order, moved and cancelled, happen in the order of time") {
    struct Timed : TimedEvent {
        Timed()
            : TimedEvent([](TimedEvent& event) noexcept {
                  auto& self = static_cast<Timed&>(event);
                  self.order->push_back(self.timeline->now());
              }) {}
        std::vector<Instant>* order = nullptr;
        Timeline* timeline = nullptr;
    };
    Timeline timeline;
    Random random(3);
    std::vector<Instant> order;
    std::vector<Timed> events(1000);
    for (Timed& event : events) {
        event.order = &order;
        event.timeline = &timeline;
        timeline.schedule(event, timeline.now() + Duration(random.below(1'000'000)));
    }
    for (int turn = 0; turn < 500; ++turn) {
        Timed& event = random.pick(events);
        timeline.schedule(event, timeline.now() + Duration(random.below(1'000'000)));
    }
    for (std::size_t index = 0; index < 100; ++index) timeline.cancel(events[index]);
    timeline.advance_to(timeline.now() + 1s);
    CHECK(order.size() == 900);
    CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("a trace reads well, and its hash is that of its numbers") {
    Timeline timeline;
    Trace trace(timeline);
    trace.name_machine(1, "server");
    trace.name_machine(2, "a");
    trace.keep(2);
    trace.record_on(1, TraceKind::power_on, 1);
    timeline.advance_to(Timeline::start + 12s + 345us);
    trace.at(1, 7);
    trace.record(TraceKind::recv, 512, 5);
    trace.record_on(2, TraceKind::wake);
    CHECK(trace.text() ==
          "    12.000345000 s  server  task 7  recv 512 bytes, fd 5\n"
          "    12.000345000 s  a       wake\n");
    CHECK(trace.count() == 3);
    CHECK(trace.hash() == 0xb90b'4484'989e'cf13);  // from the definition, computed apart
}
