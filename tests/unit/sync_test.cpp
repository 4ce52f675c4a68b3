// SPDX-License-Identifier: BSL-1.0
// Semaphore, Mutex, Latch and Channel: what they promise, and that a cancelled waiter loses nothing.
#include "tests/unit/support.hpp"

#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

using namespace support;

namespace {

Task<> take_and_note(Semaphore* semaphore, std::string* order, int id) {
    auto taken = co_await semaphore->acquire();
    if (taken) *order += std::to_string(id);
}

Task<> note_error(Semaphore* semaphore, std::error_code* error) {
    *error = (co_await semaphore->acquire()).error();
}

// Takes the lock, sees that it is alone, and lets others try over a suspension.
Task<> critical(Mutex* mutex, std::atomic<int>* inside, int* counter, int rounds, unsigned seed) {
    std::mt19937 random(seed);
    for (int round = 0; round < rounds; ++round) {
        auto guard = co_await mutex->lock().within(std::chrono::microseconds(random() % 300));
        if (!guard) continue;
        if (inside->fetch_add(1) != 0) std::abort();
        ++*counter;
        if (random() % 3 == 0) co_await yield();
        inside->fetch_sub(1);
    }
}

Task<> produce(Channel<unsigned>* channel, unsigned producer, unsigned count) {
    for (unsigned number = 0; number < count; ++number) (co_await channel->send(producer * 1'000'000 + number)).value();
}

Task<> consume(Channel<unsigned>* channel, std::vector<unsigned>* got) {
    while (auto value = co_await channel->recv()) got->push_back(*value);
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
        co_await passes(2);
        CHECK(order == "0");
        semaphore.release(4);
        co_await scope.join();
        CHECK(order == "01234");
        CHECK(semaphore.available() == 0);
    });
}

TEST_CASE("a waiter that times out or is cancelled takes no permit, and the next one gets it") {
    in_runtime([]() -> Task<> {
        Semaphore semaphore(0);
        auto late = co_await semaphore.acquire().within(1ms);
        CHECK(late.error() == Errc::timed_out);
        std::error_code error;
        std::string order;
        Scope first;
        first.spawn(note_error, &semaphore, &error);
        Scope second;
        second.spawn(take_and_note, &semaphore, &order, 7);
        co_await passes(2);
        first.cancel();
        co_await first.join();
        CHECK(error == Errc::cancelled);
        semaphore.release();
        co_await second.join();
        CHECK(order == "7");
        semaphore.release();
        auto past = co_await semaphore.acquire().until(now() - 1s);
        CHECK(past);  // one try is made
    });
}

TEST_CASE("a mutex lets one task in at a time, over workers, limits and suspensions") {
    RuntimeOptions options = one_worker();
    options.workers = 3;
    in_runtime_with(options, []() -> Task<> {
        Mutex mutex;
        std::atomic<int> inside{0};
        int counter = 0;
        Scope scope;
        for (unsigned task = 0; task < 12; ++task)
            scope.spawn_on(task % 3, critical, &mutex, &inside, &counter, 300, task);
        co_await scope.join();
        CHECK(counter > 0);
        CHECK(!mutex.is_locked());
        auto guard = mutex.try_lock();
        CHECK(guard);
        CHECK(!mutex.try_lock());
        guard.unlock();
        CHECK(mutex.try_lock());
    });
}

TEST_CASE("a latch lets tasks and plain threads through at zero") {
    in_runtime([]() -> Task<> {
        Latch latch(3);
        std::atomic<int> through{0};
        std::thread thread([&] {
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
        auto early = co_await latch.wait().within(1ms);
        CHECK(early.error() == Errc::timed_out);
        CHECK(through == 0);
        latch.count_down(2);
        CHECK(latch.count() == 1);
        latch.count_down();
        co_await scope.join();
        thread.join();
        CHECK(through == 5);
        CHECK(latch.try_wait());
    });
}

TEST_CASE("a channel delivers each value once, in order for each sender, over workers") {
    RuntimeOptions options = one_worker();
    options.workers = 3;
    in_runtime_with(options, []() -> Task<> {
        for (const std::size_t capacity : {std::size_t{1}, std::size_t{7}, std::size_t{1000}}) {
            Channel<unsigned> channel(capacity);
            std::vector<unsigned> got;
            Scope consumers;
            consumers.spawn_on(2, consume, &channel, &got);
            Scope producers;
            for (unsigned producer = 0; producer < 4; ++producer)
                producers.spawn_on(producer % 3, produce, &channel, producer, 2000U);
            co_await producers.join();
            channel.close();
            co_await consumers.join();
            CHECK(got.size() == 8000);
            std::array<unsigned, 4> next{};
            bool ordered = true;
            for (const unsigned value : got) ordered &= value % 1'000'000 == next[value / 1'000'000]++;
            CHECK(ordered);
        }
    });
}

TEST_CASE("a full channel makes its senders wait; close refuses them and lets receivers drain") {
    in_runtime([]() -> Task<> {
        Channel<std::unique_ptr<int>> channel(2);
        (co_await channel.send(std::make_unique<int>(1))).value();
        auto second = std::make_unique<int>(2);
        CHECK(channel.try_send(second));
        auto third = std::make_unique<int>(3);
        CHECK(!channel.try_send(third));
        CHECK(third);  // not taken
        auto late = co_await channel.send(std::move(third)).within(1ms);
        CHECK(late.error() == Errc::timed_out);
        std::error_code refused;
        Scope scope;
        scope.spawn(
            [](Channel<std::unique_ptr<int>>* to, std::error_code* error) -> Task<> {
                *error = (co_await to->send(std::make_unique<int>(4))).error();
            },
            &channel, &refused);
        co_await passes(2);
        channel.close();
        channel.close();
        co_await scope.join();
        CHECK(refused == Errc::closed);
        CHECK(channel.size() == 2);
        CHECK(**(co_await channel.recv()) == 1);
        CHECK(**channel.try_recv() == 2);
        auto empty = co_await channel.recv();
        CHECK(empty.error() == Errc::closed);
        auto closed = co_await channel.send(std::make_unique<int>(5));
        CHECK(closed.error() == Errc::closed);
    });
}

TEST_CASE("values that race with limits, cancels and close are delivered once or not taken") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    for (unsigned seed = 0; seed < 200; ++seed) {
        CAPTURE(seed);
        std::atomic<int> taken{0};
        std::atomic<int> received{0};
        Counted::alive = 0;
        in_runtime_with(
            options,
            [](unsigned start, std::atomic<int>* in, std::atomic<int>* out) -> Task<> {
                Channel<Counted> channel(1 + start % 3);
                Scope senders;
                Scope receivers;
                for (unsigned task = 0; task < 4; ++task) {
                    senders.spawn_on(
                        task % 2,
                        [](Channel<Counted>* to, std::atomic<int>* count, unsigned mix) -> Task<> {
                            for (unsigned round = 0; round < 20; ++round) {
                                auto sent =
                                    co_await to->send(Counted()).within(std::chrono::microseconds((mix + round) % 60));
                                if (sent) ++*count;
                            }
                        },
                        &channel, in, start + task);
                    receivers.spawn_on((task + 1) % 2,
                                       [](Channel<Counted>* from, std::atomic<int>* count, unsigned mix) -> Task<> {
                                           for (unsigned round = 0; round < 20; ++round) {
                                               auto got = co_await from->recv().within(
                                                   std::chrono::microseconds((mix * 7 + round) % 60));
                                               if (got) ++*count;
                                           }
                                       },
                                       &channel, out, start + task);
                }
                if (start % 4 == 1) receivers.cancel();
                if (start % 4 == 2) senders.cancel();
                if (start % 4 == 3) channel.close();
                co_await senders.join();
                co_await receivers.join();
                channel.close();
                while (auto rest = channel.try_recv()) ++*out;
            },
            seed, &taken, &received);
        CHECK(taken == received);
        CHECK(Counted::alive == 0);
    }
}
