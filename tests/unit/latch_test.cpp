// SPDX-License-Identifier: BSL-1.0
// Latch: how each wait ends, plain threads, and that it may be destroyed by those who are through.
#include "tests/unit/waits.hpp"

#include <memory>
#include <thread>
#include <vector>

using namespace support;

namespace {

Task<> wait_for(Latch* latch, Ended* ended) {
    const auto waited = co_await latch->wait();
    ended->error = waited.error();
    ended->yes = true;
}

}  // namespace

TEST_CASE("a latch lets tasks and plain threads through at zero" * not_simulated()) {
    in_runtime([]() -> Task<> {
        Latch latch(3);
        std::atomic<int> through{0};
        std::vector<std::thread> threads;
        for (int thread = 0; thread < 3; ++thread)
            threads.emplace_back([&] {
                latch.wait_blocking();
                ++through;
            });
        Scope scope;
        for (int task = 0; task < 4; ++task)
            scope.spawn(
                [](Latch* gate, std::atomic<int>* count) -> Task<> {
                    (co_await gate->wait()).value();
                    ++*count;
                },
                &latch, &through);
        co_await passes(2);
        CHECK(through == 0);
        latch.count_down(2);
        CHECK(latch.count() == 1);
        CHECK(!latch.try_wait());
        co_await passes(2);
        CHECK(through == 0);
        latch.count_down();
        co_await scope.join();
        for (auto& thread : threads) thread.join();
        CHECK(through == 7);
        CHECK(latch.try_wait());
        std::thread late([&] { latch.wait_blocking(); });
        late.join();
    });
}

TEST_CASE("waiters go through in the order in which they came") {
    in_runtime([]() -> Task<> {
        Latch latch(1);
        std::string order;
        Scope scope;
        for (int id = 0; id < 5; ++id)
            scope.spawn(
                [](Latch* gate, std::string* passed, int number) -> Task<> {
                    const auto waited = co_await gate->wait();
                    if (waited) *passed += std::to_string(number);
                },
                &latch, &order, id);
        co_await passes(2);
        latch.count_down();
        co_await scope.join();
        CHECK(order == "01234");
    });
}

TEST_CASE("a wait for a latch at zero succeeds, whatever its limit and although the task was cancelled") {
    in_runtime([]() -> Task<> {
        Latch latch(0);
        const auto plain = co_await latch.wait();
        CHECK(plain);
        const auto past = co_await latch.wait().until(now() - 1s);
        CHECK(past);
        Ended ended;
        co_await cancelled_before(wait_for, &latch, &ended);
        CHECK(ended.yes);
        CHECK(!ended.error);
    });
}

TEST_CASE("a wait that times out or is cancelled says so, and the others go on waiting") {
    in_runtime([]() -> Task<> {
        Latch latch(1);
        Ended stays;
        Scope scope;
        scope.spawn(wait_for, &latch, &stays);
        const auto late = co_await latch.wait().within(1ms);
        CHECK(late.error() == Errc::timed_out);
        const auto past = co_await latch.wait().until(now() - 1s);
        CHECK(past.error() == Errc::timed_out);
        Ended before;
        co_await cancelled_before(wait_for, &latch, &before);
        CHECK(before.error == Errc::cancelled);
        Ended waiting;
        co_await cancelled_while_waiting(wait_for, &latch, &waiting);
        CHECK(waiting.error == Errc::cancelled);
        CHECK(!stays.yes);
        latch.count_down();
        co_await scope.join();
        CHECK(stays.yes);
        CHECK(!stays.error);
    });
}

namespace {

struct Gate {
    explicit Gate(unsigned count) : latch(count) {}
    Latch latch;
    std::atomic<unsigned> through{0};
    std::atomic<unsigned> failed{0};
};

Task<> pass(Gate* gate, unsigned pause, Duration limit) {
    co_await yields(pause);
    const auto waited = co_await gate->latch.wait().within(limit);
    (waited ? gate->through : gate->failed).fetch_add(1);
}

Task<> count_down_after(Gate* gate, unsigned pause) {
    co_await yields(pause);
    gate->latch.count_down();
}

Task<> a_latch_in_a_race(unsigned seed) {
    constexpr unsigned waiters = 5;
    Dice dice(seed);
    Gate gate(3);
    Scope waiting;
    for (unsigned task = 0; task < waiters; ++task) {
        const unsigned worker = dice.below(2);
        const unsigned pause = dice.below(4);
        const Duration limit = seed % 2 == 0 ? 1h : dice.limit();
        waiting.spawn_on(worker, pass, &gate, pause, limit);
    }
    Scope others;
    for (unsigned task = 0; task < 3; ++task) {
        const unsigned worker = dice.below(2);
        const unsigned pause = dice.below(4);
        others.spawn_on(worker, count_down_after, &gate, pause);
    }
    const bool cancels = seed % 4 == 1;
    if (cancels) {
        const unsigned worker = dice.below(2);
        const unsigned pause = dice.below(6);
        others.spawn_on(worker, cancel_after, pause, &waiting);
    }
    co_await waiting.join();  // a lost wake would leave a task waiting for an hour
    co_await others.join();
    CHECK(gate.through + gate.failed == waiters);
    if (seed % 2 == 0) CHECK(gate.through == waiters);
}

Task<> wait_and_destroy(std::unique_ptr<Latch> latch, unsigned pause) {
    co_await yields(pause);
    (co_await latch->wait()).value();
    latch.reset();
}

Task<> wait_a_little(Latch* latch, Duration limit) {
    (void)co_await latch->wait().within(limit);
}

// Behind wait_a_little on the same worker: when it runs, that one waits or has ended.
Task<> mark(std::atomic<bool>* arrived) {
    arrived->store(true);
    co_return;
}

Task<> open(Latch* latch, std::atomic<bool>* arrived, unsigned pause) {
    while (!arrived->load()) co_await yield();
    co_await yields(pause);
    latch->count_down();
}

// One waiter destroys the latch as soon as it is through, while count_down still runs on another worker and a second
// waiter's limit ends its wait at about the same moment.
Task<> destroyed_at_once(unsigned seed) {
    Dice dice(seed);
    auto latch = std::make_unique<Latch>(1);
    Latch* const shared = latch.get();
    std::atomic<bool> arrived{false};
    const unsigned first_pause = dice.below(3);
    const Duration limit = std::chrono::microseconds(dice.below(20));
    const unsigned opener_pause = dice.below(6);
    Scope scope;
    scope.spawn_on(1, wait_a_little, shared, limit);
    scope.spawn_on(1, mark, &arrived);
    scope.spawn_on(seed % 2, wait_and_destroy, std::move(latch), first_pause);
    scope.spawn_on(0, open, shared, &arrived, opener_pause);
    co_await scope.join();
}

}  // namespace

TEST_CASE("waits that race with the last count_down, with limits and with cancels end once") {
    in_rounds(a_latch_in_a_race);
}

TEST_CASE("a latch may be destroyed by a waiter that is through, while others are on their way out") {
    in_rounds(destroyed_at_once);
}

TEST_CASE("a plain thread may destroy the latch that it has waited for" * not_simulated()) {
    for (int round = 0; round < 500; ++round) {
        auto latch = std::make_unique<Latch>(1);
        Latch* const shared = latch.get();
        std::thread opener([shared] { shared->count_down(); });
        latch->wait_blocking();
        latch.reset();
        opener.join();
    }
}
