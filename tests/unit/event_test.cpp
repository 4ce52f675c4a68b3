// SPDX-License-Identifier: BSL-1.0
// Event: how each wait ends, in which order, and that it may be destroyed by those who are through.
#include "tests/unit/waits.hpp"

#include <memory>
#include <thread>

using namespace support;

namespace {

Task<> wait_for(Event* event, Ended* ended) {
    const auto waited = co_await event->wait();
    ended->error = waited.error();
    ended->yes = true;
}

}  // namespace

TEST_CASE("set lets all waiters through in their order, and those who come later") {
    in_runtime([]() -> Task<> {
        Event event;
        std::string order;
        Scope scope;
        for (int id = 0; id < 5; ++id)
            scope.spawn(
                [](Event* gate, std::string* passed, int number) -> Task<> {
                    const auto waited = co_await gate->wait();
                    if (waited) *passed += std::to_string(number);
                },
                &event, &order, id);
        co_await yield();
        CHECK(order.empty());
        event.set();
        CHECK(co_await event.wait());
        co_await scope.join();
        CHECK(order == "01234");
        event.reset();
        CHECK(!event.is_set());
        auto waited = co_await event.wait().within(1ms);
        CHECK(waited.error() == Errc::timed_out);
    });
}

TEST_CASE("a wait for an event that is set succeeds, whatever its limit and although the task was cancelled") {
    in_runtime([]() -> Task<> {
        Event event;
        event.set();
        const auto plain = co_await event.wait();
        CHECK(plain);
        const auto past = co_await event.wait().until(now() - 1s);
        CHECK(past);
        Ended ended;
        co_await cancelled_before(wait_for, &event, &ended);
        CHECK(ended.yes);
        CHECK(!ended.error);
    });
}

TEST_CASE("a wait that times out or is cancelled says so, and the others go on waiting") {
    in_runtime([]() -> Task<> {
        Event event;
        Ended stays;
        Scope scope;
        scope.spawn(wait_for, &event, &stays);
        const auto late = co_await event.wait().within(1ms);
        CHECK(late.error() == Errc::timed_out);
        const auto past = co_await event.wait().until(now() - 1s);
        CHECK(past.error() == Errc::timed_out);
        Ended before;
        co_await cancelled_before(wait_for, &event, &before);
        CHECK(before.error == Errc::cancelled);
        Ended waiting;
        co_await cancelled_while_waiting(wait_for, &event, &waiting);
        CHECK(waiting.error == Errc::cancelled);
        CHECK(!stays.yes);
        event.set();
        co_await scope.join();
        CHECK(!stays.error);
    });
}

TEST_CASE("a task that set() has let through is through, although the event is reset and the task cancelled first") {
    in_runtime([]() -> Task<> {
        Event event;
        Ended ended;
        Scope scope;
        scope.spawn(wait_for, &event, &ended);
        co_await passes(2);
        event.set();
        event.reset();
        scope.cancel();
        co_await scope.join();
        CHECK(ended.yes);
        CHECK(!ended.error);
    });
}

TEST_CASE("what a plain thread wrote before set is seen after the wait" * not_simulated()) {
    in_runtime([]() -> Task<> {
        Event event;
        int written = 0;
        std::thread thread([&] {
            written = 42;
            event.set();
        });
        const auto waited = co_await event.wait();
        CHECK(waited);
        CHECK(written == 42);
        thread.join();
    });
}

namespace {

struct Gate {
    Event event;
    std::atomic<unsigned> through{0};
    std::atomic<unsigned> failed{0};
};

Task<> pass(Gate* gate, unsigned pause, Duration limit) {
    co_await yields(pause);
    const auto waited = co_await gate->event.wait().within(limit);
    (waited ? gate->through : gate->failed).fetch_add(1);
}

Task<> set_after(Gate* gate, unsigned pause) {
    co_await yields(pause);
    gate->event.set();
}

Task<> reset_after(Gate* gate, unsigned pause) {
    co_await yields(pause);
    gate->event.reset();
}

Task<> an_event_in_a_race(unsigned seed) {
    constexpr unsigned waiters = 5;
    Dice dice(seed);
    Gate gate;
    Scope waiting;
    for (unsigned task = 0; task < waiters; ++task) {
        const unsigned worker = dice.below(2);
        const unsigned pause = dice.below(4);
        const Duration limit = seed % 2 == 0 ? 1h : dice.limit();
        waiting.spawn_on(worker, pass, &gate, pause, limit);
    }
    Scope others;
    const unsigned setter = dice.below(2);
    const unsigned setter_pause = dice.below(4);
    others.spawn_on(setter, set_after, &gate, setter_pause);
    const unsigned other = dice.below(2);
    const unsigned other_pause = dice.below(6);
    if (seed % 4 == 1) others.spawn_on(other, cancel_after, other_pause, &waiting);
    if (seed % 4 == 2) others.spawn_on(other, reset_after, &gate, other_pause);
    co_await others.join();
    gate.event.set();         // for those who came after the reset
    co_await waiting.join();  // a lost wake would leave a task waiting for an hour
    CHECK(gate.through + gate.failed == waiters);
    if (seed % 2 == 0) CHECK(gate.through == waiters);
}

Task<> wait_and_destroy(std::unique_ptr<Event> event, unsigned pause) {
    co_await yields(pause);
    (co_await event->wait()).value();
    event.reset();
}

Task<> wait_a_little(Event* event, Duration limit) {
    (void)co_await event->wait().within(limit);
}

// Behind wait_a_little on the same worker: when it runs, that one waits or has ended.
Task<> mark(std::atomic<bool>* arrived) {
    arrived->store(true);
    co_return;
}

Task<> set_it(Event* event, std::atomic<bool>* arrived, unsigned pause) {
    while (!arrived->load()) co_await yield();
    co_await yields(pause);
    event->set();
}

// One waiter destroys the event as soon as it is through, while set still runs on another worker and a second waiter's
// limit ends its wait at about the same moment.
Task<> destroyed_at_once(unsigned seed) {
    Dice dice(seed);
    auto event = std::make_unique<Event>();
    Event* const shared = event.get();
    std::atomic<bool> arrived{false};
    const unsigned first_pause = dice.below(3);
    const Duration limit = std::chrono::microseconds(dice.below(20));
    const unsigned setter_pause = dice.below(6);
    Scope scope;
    scope.spawn_on(1, wait_a_little, shared, limit);
    scope.spawn_on(1, mark, &arrived);
    scope.spawn_on(seed % 2, wait_and_destroy, std::move(event), first_pause);
    scope.spawn_on(0, set_it, shared, &arrived, setter_pause);
    co_await scope.join();
}

}  // namespace

TEST_CASE("waits that race with set, reset, limits and cancels end once") {
    in_rounds(an_event_in_a_race);
}

TEST_CASE("an event may be destroyed by a waiter that is through, while others are on their way out") {
    in_rounds(destroyed_at_once);
}

TEST_CASE("set from another thread, racing with limits and cancels, loses nobody" * not_simulated()) {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        for (int round = 0; round < 500; ++round) {
            Event event;
            std::atomic<int> ended{0};
            Scope scope;
            for (unsigned task = 0; task < 8; ++task)
                scope.spawn_on(
                    task % 2,
                    [](Event* gate, std::atomic<int>* count, int microseconds) -> Task<> {
                        auto waited = co_await gate->wait().within(std::chrono::microseconds(microseconds));
                        if (waited || waited.error() == Errc::timed_out || waited.error() == Errc::cancelled) ++*count;
                    },
                    &event, &ended, static_cast<int>(task) * 40);
            co_await yield();
            std::thread setter([&event] { event.set(); });
            if (round % 3 == 0) scope.cancel();
            co_await scope.join();
            setter.join();
            CHECK(ended == 8);
        }
    });
}
