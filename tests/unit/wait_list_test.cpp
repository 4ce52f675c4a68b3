// SPDX-License-Identifier: BSL-1.0
// WaitList and the cores on it, without tasks: entries of the test's own, driven step by step through the states that
// wait_list.hpp names.
#include <chainring/channel_core.hpp>
#include <chainring/claim.hpp>
#include <chainring/event_core.hpp>
#include <chainring/latch_core.hpp>
#include <chainring/mutex_core.hpp>
#include <chainring/semaphore_core.hpp>
#include <chainring/wait_list.hpp>

#include <atomic>
#include <doctest/doctest.h>
#include <optional>

using namespace chainring::detail;

namespace {

struct Nobody {};  // who waits

struct Entry : WaitLinks<Entry> {
    bool try_claim(Wake why) noexcept { return claim.try_claim(why); }
    Wake outcome() const noexcept { return claim.outcome(); }
    ClaimWord<std::atomic> claim;
    Nobody* task = nullptr;
};

// Counts, and does not exclude: the test has one thread.
struct CountingMutex {
    void lock() noexcept { ++holders; }
    void unlock() noexcept { --holders; }
    int holders = 0;
};

struct Condition {
    template <class Lock, class Predicate>
    void wait(Lock&, Predicate done) {
        CHECK(done());
    }
    void notify_all() noexcept { ++notified; }
    int notified = 0;
};

using List = WaitList<Entry, CountingMutex, Nobody>;
using Grants = List::Grants;
constexpr auto ready = [] {};

template <class E>
bool ends_early(List& list, E& entry, Wake why) {
    if (!entry.try_claim(why)) return false;
    list.leave(entry);
    return true;
}

}  // namespace

TEST_CASE("one contender wins a claim, and the word tells which") {
    ClaimWord<std::atomic> claim;
    CHECK(claim.outcome() == Wake::none);
    CHECK(claim.try_claim(Wake::timed_out));
    CHECK(!claim.try_claim(Wake::completed));
    CHECK(claim.outcome() == Wake::timed_out);
}

TEST_CASE("a list grants its entries in their order and passes over those that have left") {
    List list;
    Entry first, second, third;
    for (Entry* entry : {&first, &second, &third}) list.push(*entry);
    CHECK(list.front() == &first);
    CHECK(ends_early(list, second, Wake::cancelled));
    CHECK(list.grant() == &first);
    CHECK(list.grant() == &third);
    CHECK(list.grant() == nullptr);
    CHECK(list.empty());
    CHECK(!ends_early(list, third, Wake::cancelled));
    CHECK(second.outcome() == Wake::cancelled);
    CHECK(third.outcome() == Wake::completed);
}

TEST_CASE("a list is not quiet while an entry that lost its turn has still to leave") {
    List list;
    Entry leaving, stays;
    list.push(leaving);
    list.push(stays);
    CHECK(leaving.try_claim(Wake::timed_out));  // without the mutex; it has not got to leave() yet
    CHECK(list.gone_quiet());
    CHECK(list.grant() == &stays);  // comes across it
    CHECK(list.empty());
    CHECK(!list.gone_quiet());
    list.leave(leaving);
    CHECK(list.gone_quiet());
    CHECK(list.mutex().holders == 0);
}

TEST_CASE("what was granted is taken for waking in the order of the grants") {
    List list;
    Entry first, second;
    list.push(first);
    list.push(second);
    Grants granted;
    list.grant_all(granted, Wake::closed);
    CHECK(granted.take() == &first);
    CHECK(granted.take() == &second);
    CHECK(granted.take() == nullptr);
    CHECK(first.outcome() == Wake::closed);
}

TEST_CASE("a permit passes over an entry whose cancel has won, and goes back when nobody is left") {
    SemaphoreCore<List> semaphore(1);
    Entry taker, cancelled, waiting;
    Grants granted;
    CHECK(semaphore.acquire(taker, ready));
    CHECK(!semaphore.acquire(cancelled, ready));
    CHECK(!semaphore.acquire(waiting, ready));
    CHECK(cancelled.try_claim(Wake::cancelled));
    semaphore.release(2, granted);
    CHECK(granted.take() == &waiting);
    CHECK(granted.take() == nullptr);
    CHECK(semaphore.available() == 1);
    semaphore.waiting().leave(cancelled);
    CHECK(semaphore.try_acquire());
}

TEST_CASE("an event and a latch let all through that have not left") {
    EventCore<List> event;
    LatchCore<List, Condition> latch(2);
    Entry first, second;
    Grants granted;
    CHECK(!event.wait(first, ready));
    event.set(granted);
    CHECK(granted.take() == &first);
    CHECK(event.wait(second, ready));
    event.reset();
    CHECK(!event.is_set());

    Entry waiting, leaving;
    CHECK(!latch.wait(leaving, ready));
    CHECK(!latch.wait(waiting, ready));
    CHECK(leaving.try_claim(Wake::timed_out));
    latch.count_down(1, granted);
    CHECK(granted.take() == nullptr);
    latch.count_down(1, granted);
    CHECK(granted.take() == &waiting);
    CHECK(granted.take() == nullptr);
    CHECK(latch.wait(second, ready));
    latch.waiting().leave(leaving);
    latch.wait_blocking();
}

TEST_CASE("a mutex is handed to the oldest entry that has not left, and its owner goes with it") {
    MutexCore<List> mutex;
    Nobody one, two, three;
    Entry first, second, third;
    first.task = &one;
    second.task = &two;
    third.task = &three;
    Grants granted;
    CHECK(mutex.lock(first, ready));
    CHECK(mutex.waiting().owner() == &one);
    CHECK(!mutex.lock(second, ready));
    CHECK(!mutex.lock(third, ready));
    CHECK(!mutex.try_lock(&two));
    CHECK(ends_early(mutex.waiting(), second, Wake::timed_out));
    mutex.unlock(granted);
    CHECK(granted.take() == &third);
    CHECK(mutex.waiting().owner() == &three);
    CHECK(mutex.is_locked());
    mutex.unlock(granted);
    CHECK(mutex.waiting().owner() == nullptr);
    CHECK(!mutex.is_locked());
}

TEST_CASE("a value is in one place: with its sender, in the ring, or with its receiver") {
    using Core = ChannelCore<int, List>;
    Core channel(1);
    Core::Entry sender, late, receiver, none;
    Grants granted;
    sender.value = 1;
    late.value = 2;
    CHECK(channel.send(sender, granted, ready) == Wake::completed);
    CHECK(channel.send(late, granted, ready) == Wake::none);
    CHECK(late.try_claim(Wake::cancelled));
    CHECK(channel.recv(receiver, granted, ready) == Wake::completed);
    CHECK(receiver.value == 1);
    CHECK(late.value == 2);  // its cancel has won: it was not taken
    CHECK(channel.size() == 0);
    channel.senders().leave(late);
    CHECK(channel.recv(none, granted, ready) == Wake::none);
    channel.close(granted);
    CHECK(granted.take() == &none);
    CHECK(none.outcome() == Wake::closed);
    CHECK(!none.value);
}
