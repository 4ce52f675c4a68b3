// SPDX-License-Identifier: BSL-1.0
// Semaphore: how each acquire ends, in which order, and that no race loses or makes a permit.
#include "tests/unit/waits.hpp"

#include <memory>
#include <thread>
#include <vector>

using namespace support;

namespace {

Task<> acquire(Semaphore* semaphore, Ended* ended) {
    const auto taken = co_await semaphore->acquire();
    ended->error = taken.error();
    ended->yes = true;
}

Task<> take_and_note(Semaphore* semaphore, std::string* order, int id) {
    const auto taken = co_await semaphore->acquire();
    if (taken) *order += std::to_string(id);
}

}  // namespace

TEST_CASE("a semaphore hands its permits out in the order of asking") {
    in_runtime([]() -> Task<> {
        Semaphore semaphore(2);
        CHECK(semaphore.try_acquire());
        CHECK(semaphore.try_acquire());
        CHECK(!semaphore.try_acquire());
        std::string order;
        Scope scope;
        for (int id = 0; id < 5; ++id) scope.spawn(take_and_note, &semaphore, &order, id);
        co_await passes(2);
        CHECK(order.empty());
        semaphore.release();
        CHECK(!semaphore.try_acquire());  // it is the first waiter's already
        co_await passes(2);
        CHECK(order == "0");
        semaphore.release(4);
        co_await scope.join();
        CHECK(order == "01234");
        CHECK(semaphore.available() == 0);
    });
}

TEST_CASE("an acquire takes a free permit at once, also with a limit in the past") {
    in_runtime([]() -> Task<> {
        Semaphore semaphore(3);
        const auto plain = co_await semaphore.acquire();
        CHECK(plain);
        const auto limited = co_await semaphore.acquire().within(1h);
        CHECK(limited);
        const auto past = co_await semaphore.acquire().until(now() - 1s);
        CHECK(past);
        CHECK(semaphore.available() == 0);
    });
}

TEST_CASE("an acquire that times out takes no permit, and the next one gets it") {
    in_runtime([]() -> Task<> {
        Semaphore semaphore(0);
        std::string order;
        const auto late = co_await semaphore.acquire().within(1ms);
        CHECK(late.error() == Errc::timed_out);
        const auto past = co_await semaphore.acquire().until(now() - 1s);
        CHECK(past.error() == Errc::timed_out);
        Scope scope;
        scope.spawn(take_and_note, &semaphore, &order, 7);
        co_await passes(2);
        const auto behind = co_await semaphore.acquire().within(1ms);
        CHECK(behind.error() == Errc::timed_out);
        semaphore.release();
        co_await scope.join();
        CHECK(order == "7");
        CHECK(semaphore.available() == 0);
    });
}

TEST_CASE("a cancelled acquire takes no permit, whether it waited or not") {
    in_runtime([]() -> Task<> {
        Semaphore semaphore(1);
        Ended before;
        co_await cancelled_before(acquire, &semaphore, &before);
        CHECK(before.error == Errc::cancelled);
        CHECK(semaphore.available() == 1);
        CHECK(semaphore.try_acquire());
        Ended waiting;
        co_await cancelled_while_waiting(acquire, &semaphore, &waiting);
        CHECK(waiting.error == Errc::cancelled);
        semaphore.release();
        CHECK(semaphore.available() == 1);
    });
}

TEST_CASE("a waiter that is cancelled leaves the line; those before and behind it keep their turns") {
    in_runtime([]() -> Task<> {
        Semaphore semaphore(0);
        Ended error;
        std::string order;
        Scope line;
        line.spawn(take_and_note, &semaphore, &order, 1);
        co_await passes(2);
        Scope middle;
        middle.spawn(acquire, &semaphore, &error);
        co_await passes(2);
        line.spawn(take_and_note, &semaphore, &order, 3);
        co_await passes(2);
        middle.cancel();
        co_await middle.join();
        CHECK(error.error == Errc::cancelled);
        semaphore.release(2);
        co_await line.join();
        CHECK(order == "13");
        CHECK(semaphore.available() == 0);
    });
}

TEST_CASE("a permit that was granted is delivered although the task is cancelled before it resumes") {
    in_runtime([]() -> Task<> {
        Semaphore semaphore(0);
        Ended ended;
        Scope scope;
        scope.spawn(acquire, &semaphore, &ended);
        co_await passes(2);
        semaphore.release();
        scope.cancel();
        co_await scope.join();
        CHECK(ended.yes);
        CHECK(!ended.error);
        CHECK(semaphore.available() == 0);
    });
}

TEST_CASE("plain threads take and give permits" * not_simulated()) {
    in_runtime([]() -> Task<> {
        Semaphore semaphore(0);
        std::thread giver([&] { semaphore.release(2); });
        const auto taken = co_await semaphore.acquire();
        CHECK(taken);
        giver.join();
        bool first = false;
        bool second = true;
        std::thread taker([&] {
            first = semaphore.try_acquire();
            second = semaphore.try_acquire();
        });
        taker.join();
        CHECK(first);
        CHECK(!second);
    });
}

namespace {

struct Permits {
    Semaphore semaphore{0};
    std::atomic<unsigned> taken{0};
};

Task<> take(Permits* permits, unsigned pause, Duration limit) {
    co_await yields(pause);
    const auto taken = co_await permits->semaphore.acquire().within(limit);
    if (taken) permits->taken.fetch_add(1);
}

Task<> give(Permits* permits, unsigned pause, unsigned count) {
    co_await yields(pause);
    permits->semaphore.release(count);
}

// A lost permit or wake would leave a task waiting for an hour.
Task<> permits_in_a_race(unsigned seed) {
    constexpr unsigned takers = 5;
    Dice dice(seed);
    Permits permits;
    Scope waiting;
    for (unsigned task = 0; task < takers; ++task) {
        const unsigned worker = dice.below(2);
        const unsigned pause = dice.below(4);
        const Duration limit = seed % 2 == 0 ? 1h : dice.limit();
        waiting.spawn_on(worker, take, &permits, pause, limit);
    }
    Scope others;
    unsigned given = 0;
    for (unsigned task = 0; task < 2; ++task) {
        const unsigned worker = dice.below(2);
        const unsigned pause = dice.below(5);
        const unsigned count = 1 + dice.below(2);
        others.spawn_on(worker, give, &permits, pause, count);
        given += count;
    }
    if (dice.one_in(3)) {
        const unsigned worker = dice.below(2);
        const unsigned pause = dice.below(6);
        others.spawn_on(worker, cancel_after, pause, &waiting);
    }
    co_await others.join();
    permits.semaphore.release(takers - 2);
    given += takers - 2;
    co_await waiting.join();
    CHECK(permits.semaphore.available() + permits.taken == given);
}

Task<> acquire_and_destroy(std::unique_ptr<Semaphore> semaphore, unsigned pause) {
    co_await yields(pause);
    (co_await semaphore->acquire()).value();
    semaphore.reset();
}

Task<> release_it(Semaphore* semaphore, unsigned pause) {
    co_await yields(pause);
    semaphore->release();
}

Task<> destroyed_at_once(unsigned seed) {
    Dice dice(seed);
    auto semaphore = std::make_unique<Semaphore>(0);
    Semaphore* const shared = semaphore.get();
    const unsigned taker_pause = dice.below(4);
    const unsigned giver_pause = dice.below(4);
    Scope scope;
    scope.spawn_on(seed % 2, acquire_and_destroy, std::move(semaphore), taker_pause);
    scope.spawn_on(1 - seed % 2, release_it, shared, giver_pause);
    co_await scope.join();
}

}  // namespace

TEST_CASE("permits that race with limits and cancels are neither lost nor made") {
    in_rounds(permits_in_a_race);
}

TEST_CASE("a semaphore may be destroyed by whoever got its last permit while release still runs") {
    in_rounds(destroyed_at_once);
}
