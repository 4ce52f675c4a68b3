// SPDX-License-Identifier: BSL-1.0
// Mutex: how each lock ends, in which order, that it excludes, and that it knows its owner.
#include "runtime/src/worker.hpp"
#include "tests/unit/waits.hpp"

#include <array>
#include <memory>
#include <thread>

using namespace support;

namespace {

Task<> lock_once(Mutex* mutex, Ended* ended) {
    const auto guard = co_await mutex->lock();
    ended->error = guard.error();
    ended->yes = true;
}

Task<> lock_and_note(Mutex* mutex, std::string* order, int id) {
    const auto guard = co_await mutex->lock();
    if (guard) *order += std::to_string(id);
    co_await yield();
}

}  // namespace

TEST_CASE("a free mutex is taken at once, also with a limit in the past, and a held one by nobody") {
    in_runtime([]() -> Task<> {
        Mutex mutex;
        {
            const auto guard = co_await mutex.lock();
            CHECK(guard);
            CHECK(mutex.is_locked());
            CHECK(!mutex.try_lock());
        }
        CHECK(!mutex.is_locked());
        auto past = co_await mutex.lock().until(now() - 1s);
        CHECK(past);
        past->unlock();
        past->unlock();  // does nothing
        CHECK(mutex.try_lock());
        CHECK(!mutex.is_locked());
    });
}

TEST_CASE("unlock hands the lock to the oldest waiter, and nobody overtakes it") {
    in_runtime([]() -> Task<> {
        Mutex mutex;
        auto held = mutex.try_lock();
        std::string order;
        Scope scope;
        for (int id = 0; id < 5; ++id) scope.spawn(lock_and_note, &mutex, &order, id);
        co_await passes(2);
        held.unlock();
        CHECK(mutex.is_locked());  // the first waiter's, before it has resumed
        CHECK(!mutex.try_lock());
        co_await scope.join();
        CHECK(order == "01234");
        CHECK(!mutex.is_locked());
    });
}

TEST_CASE("a lock that times out or is cancelled is not taken, and the next waiter gets its turn") {
    in_runtime([]() -> Task<> {
        Mutex mutex;
        Ended before;
        co_await cancelled_before(lock_once, &mutex, &before);
        CHECK(before.error == Errc::cancelled);
        CHECK(!mutex.is_locked());
        auto held = mutex.try_lock();
        const auto late = co_await mutex.lock().within(1ms);
        CHECK(late.error() == Errc::timed_out);
        const auto past = co_await mutex.lock().until(now() - 1s);
        CHECK(past.error() == Errc::timed_out);
        Ended waiting;
        Ended behind;
        Scope first;
        first.spawn(lock_once, &mutex, &waiting);
        Scope second;
        second.spawn(lock_once, &mutex, &behind);
        co_await passes(2);
        first.cancel();
        co_await first.join();
        CHECK(waiting.error == Errc::cancelled);
        CHECK(!behind.yes);
        held.unlock();
        co_await second.join();
        CHECK(behind.yes);
        CHECK(!behind.error);
        CHECK(!mutex.is_locked());
    });
}

TEST_CASE("a lock that was handed over is delivered although the task is cancelled before it resumes") {
    in_runtime([]() -> Task<> {
        Mutex mutex;
        auto held = mutex.try_lock();
        Ended ended;
        Scope scope;
        scope.spawn(lock_once, &mutex, &ended);
        co_await passes(2);
        held.unlock();
        scope.cancel();
        co_await scope.join();
        CHECK(ended.yes);
        CHECK(!ended.error);
        CHECK(!mutex.is_locked());
    });
}

TEST_CASE("a plain thread may try the lock, and unlock what a task has locked" * not_simulated()) {
    in_runtime([]() -> Task<> {
        Mutex mutex;
        auto guard = mutex.try_lock();
        bool taken = true;
        std::thread thread([&] {
            taken = static_cast<bool>(mutex.try_lock());
            Mutex::Guard theirs = std::move(guard);
        });
        const auto next = co_await mutex.lock();
        CHECK(next);
        thread.join();
        CHECK(!taken);
    });
}

namespace {

detail::TaskContext* this_task() {
    return detail::Worker::current()->running();
}

// What a report on the task would say: whether it waits for a Mutex, and for whom.
bool waits_for_owner(const detail::TaskContext& task, const detail::TaskContext* owner) {
    if (!task.waiter || task.waiter->waits_in != detail::WaitKind::mutex) return false;
    const detail::WaitQueue& queue = static_cast<detail::QueuedWait*>(task.waiter)->queue();
    const std::lock_guard lock(queue.mutex());
    return queue.owner() == owner;
}

Task<> hold_until(Mutex* mutex, Event* done, detail::TaskContext** self) {
    *self = this_task();
    const auto guard = co_await mutex->lock();
    (co_await done->wait()).value();
}

}  // namespace

TEST_CASE("a mutex knows the task that holds it" * not_simulated()) {
    in_runtime([]() -> Task<> {
        Mutex mutex;
        std::array<Event, 3> done;
        std::array<detail::TaskContext*, 3> tasks{};
        Scope scope;
        for (unsigned id = 0; id < 3; ++id) scope.spawn(hold_until, &mutex, &done[id], &tasks[id]);
        co_await passes(2);
        CHECK(waits_for_owner(*tasks[1], tasks[0]));  // taken while it was free
        CHECK(waits_for_owner(*tasks[2], tasks[0]));
        done[0].set();
        co_await passes(2);
        CHECK(waits_for_owner(*tasks[2], tasks[1]));  // handed over
        done[1].set();
        done[2].set();
        co_await scope.join();

        auto guard = mutex.try_lock();
        Scope second;
        second.spawn(hold_until, &mutex, &done[0], &tasks[0]);
        co_await passes(2);
        CHECK(waits_for_owner(*tasks[0], this_task()));
        guard.unlock();
        co_await second.join();

        std::thread thread([&] { guard = mutex.try_lock(); });
        thread.join();
        Scope third;
        third.spawn(hold_until, &mutex, &done[0], &tasks[0]);
        co_await passes(2);
        CHECK(waits_for_owner(*tasks[0], nullptr));  // a thread that is no task
        guard.unlock();
        co_await third.join();
    });
}

namespace {

struct Shared {
    Mutex mutex;
    unsigned inside = 0;  // guarded by the mutex, as are the others: a sanitizer would see if it were not
    unsigned entered = 0;
    std::atomic<unsigned> locked{0};
    std::atomic<unsigned> failed{0};
};

Task<> critical(Shared* shared, unsigned pause, Duration limit, unsigned stay) {
    co_await yields(pause);
    const auto guard = co_await shared->mutex.lock().within(limit);
    if (!guard) {
        shared->failed.fetch_add(1);
        co_return;
    }
    shared->locked.fetch_add(1);
    ++shared->entered;
    const bool alone = ++shared->inside == 1;
    CHECK(alone);
    co_await yields(stay);
    --shared->inside;
}

Task<> a_mutex_in_a_race(unsigned seed) {
    constexpr unsigned tasks = 6;
    Dice dice(seed);
    Shared shared;
    Scope locking;
    for (unsigned task = 0; task < tasks; ++task) {
        const unsigned worker = dice.below(2);
        const unsigned pause = dice.below(4);
        const Duration limit = seed % 2 == 0 ? 1h : dice.limit();
        const unsigned stay = dice.below(3);
        locking.spawn_on(worker, critical, &shared, pause, limit, stay);
    }
    Scope others;
    const bool cancels = seed % 4 == 1;
    if (cancels) {
        const unsigned worker = dice.below(2);
        const unsigned pause = dice.below(6);
        others.spawn_on(worker, cancel_after, pause, &locking);
    }
    co_await locking.join();  // a lost handover would leave a task waiting for an hour
    co_await others.join();
    CHECK(shared.locked + shared.failed == tasks);
    CHECK(shared.entered == shared.locked);
    if (seed % 2 == 0) CHECK(shared.locked == tasks);
    CHECK(!shared.mutex.is_locked());
}

Task<> hold_a_little(Mutex* mutex, std::atomic<bool>* held, unsigned stay) {
    const auto guard = co_await mutex->lock();
    held->store(true);
    co_await yields(stay);
}

Task<> lock_and_destroy(std::unique_ptr<Mutex> mutex, std::atomic<bool>* held, unsigned pause) {
    while (!held->load()) co_await yield();
    co_await yields(pause);
    {
        const auto guard = co_await mutex->lock();
        CHECK(guard);
    }
    mutex.reset();
}

Task<> destroyed_at_once(unsigned seed) {
    Dice dice(seed);
    auto mutex = std::make_unique<Mutex>();
    Mutex* const shared = mutex.get();
    std::atomic<bool> held{false};
    const unsigned stay = dice.below(4);
    const unsigned pause = dice.below(3);
    Scope scope;
    scope.spawn_on(seed % 2, hold_a_little, shared, &held, stay);
    scope.spawn_on(1 - seed % 2, lock_and_destroy, std::move(mutex), &held, pause);
    co_await scope.join();
}

}  // namespace

TEST_CASE("a mutex lets one task in at a time, over workers, limits, cancels and suspensions") {
    in_rounds(a_mutex_in_a_race);
}

TEST_CASE("a mutex may be destroyed by whoever had it last while the unlock before still runs") {
    in_rounds(destroyed_at_once);
}
