// SPDX-License-Identifier: BSL-1.0
// ChannelCore: a value that was taken is received once, a value that was refused is not; close and cancel lose nothing.
#include <chainring/channel_core.hpp>

#include "tests/model/waits.hpp"

#include <array>
#include <doctest/doctest.h>
#include <memory>
#include <optional>

using namespace model;

namespace {

using Value = Data<unsigned>;  // so that a receiver that need not see the sender's writing is found out
using Channel = chainring::detail::ChannelCore<Value, List>;
using Wait = Channel::Entry;

constexpr unsigned values = 3;

// A channel and what came of each value.
struct Traffic {
    explicit Traffic(std::size_t capacity) : channel(capacity) {}

    Wake send(unsigned value, bool impatient) {
        const auto entry = std::make_unique<Wait>();
        entry->value.emplace(value);
        List::Grants granted;
        Wake outcome = channel.send(*entry, granted, [&]() noexcept { entry->ticket = ++listed; });
        wake(granted);
        if (outcome == Wake::none) outcome = end_of_wait(channel.senders(), *entry, impatient);
        if (outcome == Wake::completed) ++taken[value];
        return outcome;
    }
    Wake recv(bool impatient) {
        const auto entry = std::make_unique<Wait>();
        List::Grants granted;
        Wake outcome = channel.recv(*entry, granted, [&]() noexcept { entry->ticket = ++listed; });
        wake(granted);
        if (outcome == Wake::none) outcome = end_of_wait(channel.receivers(), *entry, impatient);
        if (outcome == Wake::completed) ++received[*entry->value];
        return outcome;
    }
    void close() {
        List::Grants granted;
        channel.close(granted);
        wake(granted);
    }
    // When nobody waits any more.
    void settle() {
        for (;;) {
            std::optional<Value> left;
            List::Grants granted;
            if (channel.try_recv(left, granted) != Wake::completed) break;
            ++received[*left];
        }
        for (unsigned value = 0; value < values; ++value) {
            check(taken[value] <= 1, "a value is taken once");
            check(received[value] == taken[value], "what was taken is received, and what was not is not");
        }
    }

    Channel channel;
    unsigned listed = 0;
    std::array<unsigned, values> taken{};
    std::array<unsigned, values> received{};
};

}  // namespace

TEST_CASE("channel: two senders over one place, one of them cancelled, lose no value that was taken") {
    CHECK(holds({.preemptions = 3}, [] {
        Traffic traffic(1);
        {
            auto one = spawn([&] {
                traffic.send(0, false);
                traffic.send(1, true);
            });
            auto two = spawn([&] { traffic.send(2, true); });
            traffic.recv(false);
        }
        traffic.settle();
    }));
}

TEST_CASE("channel: a value goes to the next receiver when the first is cancelled") {
    CHECK(holds({.preemptions = 3}, [] {
        Traffic traffic(1);
        {
            auto impatient = spawn([&] { traffic.recv(true); });
            auto patient = spawn([&] { check(traffic.recv(false) == Wake::completed, "two values, two receivers"); });
            traffic.send(0, false);
            traffic.send(1, false);
        }
        traffic.settle();
    }));
}

TEST_CASE("channel: one sender's values are received in their order") {
    CHECK(holds({.preemptions = 3}, [] {
        Traffic traffic(1);
        auto sender = spawn([&] {
            for (unsigned value = 0; value < values; ++value) traffic.send(value, false);
        });
        for (unsigned value = 0; value < values; ++value) {
            traffic.recv(false);
            check(traffic.received[value] == 1, "first in, first out");
        }
        sender.join();
        traffic.settle();
    }));
}

TEST_CASE("channel: close ends every wait, and what was taken before is still received") {
    CHECK(holds({.preemptions = 3}, [] {
        Traffic traffic(1);
        {
            auto sender = spawn([&] {
                traffic.send(0, false);
                traffic.send(1, false);
            });
            auto receiver = spawn([&] {
                while (traffic.recv(false) == Wake::completed) {
                }
            });
            traffic.close();
            check(traffic.send(2, false) == Wake::closed, "a closed channel takes nothing");
        }
        check(traffic.channel.size() == 0, "a receiver that is told closed has left nothing, and nothing comes later");
        traffic.settle();
    }));
}
