// SPDX-License-Identifier: BSL-1.0
// OutboxCore: who waits for room or for the end of everything queued is let through when it comes; a message is queued
// once or not at all, and goes once.
#include "net/src/outbox_core.hpp"
#include "tests/model/waits.hpp"

#include <array>
#include <doctest/doctest.h>
#include <memory>

using namespace model;
using chainring::OutboxOptions;
using chainring::Posted;
using chainring::SlowReceiver;

namespace {

// A message; `content` tells whether home sees what the sender wrote.
struct Message {
    Message* next = nullptr;
    std::size_t left = 1;
    unsigned number = 0;
    Data<unsigned> content;
};
using Core = chainring::detail::OutboxCore<List, Message>;
using Wait = Core::Entry;

constexpr unsigned messages = 3;

// An outbox of messages of one byte, and what became of each.
struct Traffic {
    explicit Traffic(SlowReceiver slow_receiver, std::size_t high = 1) {
        OutboxOptions options;
        options.high_water = high;
        options.low_water = 0;
        options.slow_receiver = slow_receiver;
        List::Grants granted;
        core.configure(options, granted);
    }

    // Who waits for the drain comes after who waits for room.
    auto listed(Wait& entry, unsigned from = 0) {
        return [this, &entry, from]() noexcept { entry.ticket = from + ++last_ticket; };
    }
    Message& make(unsigned number) {
        all[number].number = number;
        all[number].content = number + 1;
        return all[number];
    }
    Wake send(unsigned number, bool impatient) {
        const auto entry = std::make_unique<Wait>();
        entry->unit = &make(number);
        Wake outcome = core.send(*entry, listed(*entry));
        if (outcome == Wake::none) outcome = end_of_wait(core.waiting_for_room(), *entry, impatient);
        check((entry->unit == nullptr) == (outcome == Wake::completed), "who was let through was queued, and no other");
        queued[number] += outcome == Wake::completed;
        return outcome;
    }
    Wake drained(bool impatient) {
        const auto entry = std::make_unique<Wait>();
        Wake outcome = core.drained(*entry, listed(*entry, 100));
        if (outcome == Wake::none) outcome = end_of_wait(core.waiting_for_drain(), *entry, impatient);
        return outcome;
    }
    Posted post(unsigned number) {
        Core::Units dropped;
        List::Grants granted;
        const Posted posted = core.post(make(number), dropped, granted);
        model::wake(granted);
        gone(dropped);
        queued[number] += posted == Posted::queued || posted == Posted::dropped_older;
        return posted;
    }
    // Home: sends what there is.
    void flush() {
        Core::Units units = core.take(Core::Take::now);
        while (Message* message = units.pop()) {
            Core::Units one;
            one.push(*message);
            gone(one);
            List::Grants granted;
            core.done(message->left, granted);
            model::wake(granted);
        }
    }
    void end() {
        List::Grants granted;
        Core::Units units = core.end(granted);
        model::wake(granted);
        gone(units);
    }
    void gone(Core::Units& units) {
        while (Message* message = units.pop()) {
            check(message->content == message->number + 1, "what its sender wrote");
            ++went[message->number];
        }
    }
    // When nobody waits any more, and home has flushed.
    void settle() {
        for (unsigned number = 0; number < messages; ++number)
            check(went[number] == queued[number] && queued[number] <= 1, "what was queued goes once");
        check(core.bytes() == 0, "all is counted off");
    }

    Core core;
    unsigned last_ticket = 0;
    std::array<Message, messages> all;
    std::array<unsigned, messages> queued{};
    std::array<unsigned, messages> went{};
};

}  // namespace

TEST_CASE("outbox: a send that found it full is let through when home has sent, or when one before it is cancelled") {
    CHECK(holds({.preemptions = 2}, [] {
        Traffic traffic(SlowReceiver::wait);
        {
            auto one = spawn([&] { check(traffic.send(0, false) == Wake::completed, "the patient gets through"); });
            auto two = spawn([&] { traffic.send(1, true); });
            auto three = spawn([&] { check(traffic.send(2, false) == Wake::completed, "the patient gets through"); });
            while (traffic.queued[0] + traffic.queued[2] < 2 || traffic.core.bytes() > 0) {
                traffic.flush();
                yield();
            }
        }
        traffic.flush();
        traffic.settle();
    }));
}

TEST_CASE("outbox: who waits for it to drain goes on after the last message, also when home is done at that moment") {
    CHECK(holds({.preemptions = 3}, [] {
        Traffic traffic(SlowReceiver::wait, 3);
        check(traffic.post(0) == Posted::queued, "there was room");
        {
            auto patient = spawn([&] {
                check(traffic.drained(false) == Wake::completed, "it drains");
                check(traffic.went[0] == 1, "what was queued before has gone");
            });
            auto impatient = spawn([&] { traffic.drained(true); });
            traffic.flush();
        }
        traffic.settle();
    }));
}

TEST_CASE("outbox: the end of the Link refuses all who wait, and what was queued is handed back") {
    CHECK(holds({.preemptions = 3}, [] {
        Traffic traffic(SlowReceiver::wait);
        {
            auto one = spawn([&] { traffic.send(0, false); });
            auto two = spawn([&] { traffic.send(1, false); });
            auto three = spawn([&] {
                const Wake outcome = traffic.drained(false);
                check(outcome == Wake::completed || outcome == Wake::closed, "it drains or is told");
            });
            traffic.end();
        }
        check(traffic.post(2) == Posted::closed, "nothing comes after the end");
        traffic.settle();
    }));
}

TEST_CASE("outbox: what was queued before a half close is in home's hands, and nothing is queued while it lasts") {
    CHECK(holds({.preemptions = 3}, [] {
        Traffic traffic(SlowReceiver::wait);
        bool over = false;
        {
            auto sender = spawn([&] {
                const Wake outcome = traffic.send(0, false);
                check(outcome == Wake::completed || outcome == Wake::closed, "it is queued or told");
                over = true;
            });
            auto poster = spawn([&] { check(traffic.post(1) != Posted::dropped_older, "nothing is dropped here"); });
            List::Grants granted;
            traffic.core.half_close(granted);
            model::wake(granted);
            traffic.flush();
            check(!traffic.core.any_waiting(), "nothing comes behind the end of the stream");
            traffic.core.reopen();
            while (!over) {
                traffic.flush();
                yield();
            }
        }
        traffic.flush();
        check(traffic.post(2) == Posted::queued, "it is open again");
        traffic.flush();
        traffic.settle();
    }));
}

TEST_CASE("outbox: a post that drops an older message races home, and each message goes once") {
    CHECK(holds({.preemptions = 3}, [] {
        Traffic traffic(SlowReceiver::latest_only);
        {
            auto poster = spawn([&] {
                for (unsigned number = 0; number < messages; ++number) traffic.post(number);
            });
            auto waiter = spawn([&] { check(traffic.drained(false) == Wake::completed, "it drains"); });
            traffic.flush();
            poster.join();
            traffic.flush();
        }
        check(traffic.queued[messages - 1] == 1, "the latest is queued whatever went before");
        traffic.settle();
    }));
}
