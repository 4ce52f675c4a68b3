// SPDX-License-Identifier: BSL-1.0
// The cores of sync over WaitList: nothing is lost, waiters are served in their order, one that is cancelled takes
// nothing with it, and a primitive may be destroyed as soon as its waits have ended.
#include <chainring/channel_core.hpp>
#include <chainring/event_core.hpp>
#include <chainring/latch_core.hpp>
#include <chainring/mutex_core.hpp>
#include <chainring/semaphore_core.hpp>

#include "tests/model/waits.hpp"

#include <array>
#include <doctest/doctest.h>
#include <memory>
#include <vector>

using namespace model;

namespace {

using Semaphore = chainring::detail::SemaphoreCore<List>;
using Event = chainring::detail::EventCore<List>;
using MutexCore = chainring::detail::MutexCore<List>;

// What plain threads wait on in a latch.
class Condition {
public:
    template <class Lock, class Predicate>
    void wait(Lock& lock, Predicate done) {
        while (!done()) {
            const unsigned seen = notified_.load(std::memory_order_relaxed);
            lock.unlock();
            wait_until([&] { return notified_.load() != seen; }, "on a condition");
            lock.lock();
        }
    }
    void notify_all() { notified_.fetch_add(1, std::memory_order_relaxed); }

private:
    Atomic<unsigned> notified_{0};
};
using Latch = chainring::detail::LatchCore<List, Condition>;

// Hands out the places in the order of listing; called with the primitive's mutex held.
class Tickets {
public:
    auto to(Entry& entry) {
        return [this, &entry]() noexcept { entry.ticket = ++last_; };
    }

private:
    unsigned last_ = 0;
};

Wake acquire(Semaphore& semaphore, Tickets& tickets, bool impatient) {
    const auto entry = std::make_unique<Entry>();
    if (semaphore.acquire(*entry, tickets.to(*entry))) return Wake::completed;
    return end_of_wait(semaphore.waiting(), *entry, impatient);
}

void release(Semaphore& semaphore, std::size_t permits) {
    List::Grants granted;
    semaphore.release(permits, granted);
    wake(granted);
}

Wake wait(Event& event, Tickets& tickets, bool impatient) {
    const auto entry = std::make_unique<Entry>();
    if (event.wait(*entry, tickets.to(*entry))) return Wake::completed;
    return end_of_wait(event.waiting(), *entry, impatient);
}

}  // namespace

TEST_CASE("semaphore: each permit is acquired by a waiter or left, also when a waiter is cancelled") {
    CHECK(holds({.preemptions = 3}, [] {
        Semaphore semaphore(0);
        Tickets tickets;
        unsigned acquired = 0;
        {
            auto patient = spawn([&] { acquired += acquire(semaphore, tickets, false) == Wake::completed; });
            auto impatient = spawn([&] { acquired += acquire(semaphore, tickets, true) == Wake::completed; });
            release(semaphore, 1);
            release(semaphore, 1);
        }
        check(acquired + semaphore.available() == 2, "no permit is lost, and none comes of nothing");
    }));
}

TEST_CASE("semaphore: one permit goes round three tasks, which exclude each other and hand on what they wrote") {
    CHECK(holds({.preemptions = 3}, [] {
        Semaphore semaphore(1);
        Tickets tickets;
        Data<int> guarded{0};
        int entered = 0;
        const auto task = [&](bool impatient) {
            if (acquire(semaphore, tickets, impatient) != Wake::completed) return;
            guarded = guarded + 1;
            ++entered;
            release(semaphore, 1);
        };
        {
            auto one = spawn([&] { task(false); });
            auto two = spawn([&] { task(true); });
            task(false);
        }
        check(guarded == entered && entered >= 2, "each that got the permit was inside alone");
        check(semaphore.available() == 1, "the permit is back");
    }));
}

TEST_CASE("event: set lets through all who wait and all who come, but those who were cancelled") {
    CHECK(holds({.preemptions = 3}, [] {
        Event event;
        Tickets tickets;
        Data<int> written{0};
        const auto task = [&](bool impatient) {
            const Wake outcome = wait(event, tickets, impatient);
            if (outcome == Wake::completed) check(written == 7, "what was written before set");
            return outcome;
        };
        auto patient = spawn([&] { check(task(false) == Wake::completed, "the patient gets through"); });
        auto impatient = spawn([&] { task(true); });
        written = 7;
        List::Grants granted;
        event.set(granted);
        wake(granted);
        check(task(true) == Wake::completed, "the event stays set");
    }));
}

TEST_CASE("latch: the last count lets through tasks and threads, with what all counters wrote") {
    CHECK(holds({.preemptions = 3}, [] {
        Latch latch(2);
        Tickets tickets;
        std::array<Data<int>, 2> written;
        const auto count_down = [&](unsigned i) {
            written[i] = 7;
            List::Grants granted;
            latch.count_down(1, granted);
            wake(granted);
        };
        const auto passed = [&] {
            check(written[0] == 7 && written[1] == 7, "what was written before the last count");
        };
        auto one = spawn([&] { count_down(0); });
        auto two = spawn([&] { count_down(1); });
        auto thread = spawn([&] {
            latch.wait_blocking();
            passed();
        });
        const auto entry = std::make_unique<Entry>();
        if (!latch.wait(*entry, tickets.to(*entry)))
            check(end_of_wait(latch.waiting(), *entry, false) == Wake::completed, "the task gets through");
        passed();
    }));
}

// One waits and is cancelled at some moment, the other gets through and destroys the primitive at once.
namespace {
template <class Core, class Enter, class Open>
void destroyed_at_once(std::unique_ptr<Core> core, Enter enter, Open open) {
    Core& shared = *core;
    Atomic<bool> listed{false};
    auto leaver = spawn([&] {
        const auto entry = std::make_unique<Entry>();
        const bool at_once = enter(shared, *entry);
        listed.store(true, std::memory_order_release);
        if (!at_once) end_of_wait(shared.waiting(), *entry, true);
    });
    auto opener = spawn([&] {
        List::Grants granted;
        open(shared, granted);
        wake(granted);
    });
    while (!listed.load(std::memory_order_acquire)) yield();
    {
        const auto entry = std::make_unique<Entry>();
        if (!enter(shared, *entry)) end_of_wait(shared.waiting(), *entry, false);
    }
    core.reset();
}
}  // namespace

TEST_CASE("an event may be destroyed as soon as a wait has ended, while another waiter leaves") {
    CHECK(holds({.preemptions = 3}, [] {
        Tickets tickets;
        destroyed_at_once(
            std::make_unique<Event>(), [&](Event& event, Entry& entry) { return event.wait(entry, tickets.to(entry)); },
            [](Event& event, List::Grants& granted) { event.set(granted); });
    }));
}

TEST_CASE("a semaphore may be destroyed as soon as a wait has ended, while another waiter leaves") {
    CHECK(holds({.preemptions = 3}, [] {
        Tickets tickets;
        destroyed_at_once(
            std::make_unique<Semaphore>(0),
            [&](Semaphore& semaphore, Entry& entry) { return semaphore.acquire(entry, tickets.to(entry)); },
            [](Semaphore& semaphore, List::Grants& granted) { semaphore.release(2, granted); });
    }));
}

TEST_CASE("a latch may be destroyed as soon as a wait has ended, while another waiter leaves") {
    CHECK(holds({.preemptions = 3}, [] {
        Tickets tickets;
        destroyed_at_once(
            std::make_unique<Latch>(1),
            [&](Latch& latch, Entry& entry) { return latch.wait(entry, tickets.to(entry)); },
            [](Latch& latch, List::Grants& granted) { latch.count_down(1, granted); });
    }));
}

TEST_CASE(
    "mutex: one task is inside at a time, the lock is handed on in order, and cancelled waiters are passed over") {
    CHECK(holds({.preemptions = 3}, [] {
        MutexCore mutex;
        Tickets tickets;
        Data<int> guarded{0};
        int entered = 0;
        const auto task = [&](bool impatient) {
            const auto entry = std::make_unique<Entry>();
            if (!mutex.lock(*entry, tickets.to(*entry)) &&
                end_of_wait(mutex.waiting(), *entry, impatient) != Wake::completed)
                return;
            guarded = guarded + 1;
            ++entered;
            List::Grants granted;
            mutex.unlock(granted);
            wake(granted);
        };
        {
            auto one = spawn([&] { task(false); });
            auto two = spawn([&] { task(true); });
            task(false);
        }
        check(guarded == entered && entered >= 2, "each that got the lock was inside alone");
        check(!mutex.is_locked(), "the lock is free in the end");
    }));
}
