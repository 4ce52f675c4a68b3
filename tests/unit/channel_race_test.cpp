// SPDX-License-Identifier: BSL-1.0
// Channel: no race of senders, receivers, limits, cancels and close loses a value or makes one twice.
#include "tests/unit/waits.hpp"

#include <array>
#include <atomic>
#include <memory>

using namespace support;

namespace {

constexpr unsigned numbers = 6;  // values per sender

// A value that knows where it comes from, and is counted.
struct Item {
    Item() noexcept = default;
    Item(unsigned from, unsigned which) noexcept : sender(from), number(which) {}
    unsigned sender = 0;
    unsigned number = 0;
    Counted counted;
};

struct Stream {
    explicit Stream(std::size_t capacity) : channel(capacity) {}
    Channel<Item> channel;
    std::array<std::array<std::atomic<int>, numbers>, 2> balance{};  // sent minus received, of each value
    std::atomic<bool> ordered{true};
};

Task<> send_all(Stream* stream, unsigned sender, unsigned seed, bool limited) {
    Dice dice(seed);
    for (unsigned number = 0; number < numbers; ++number) {
        const unsigned pause = dice.below(3);
        const Duration limit = limited ? dice.limit() : 1h;
        co_await yields(pause);
        Item item(sender, number);
        const auto sent = co_await stream->channel.send(std::move(item)).within(limit);
        if (sent) stream->balance[sender][number].fetch_add(1);
    }
}

// Until the channel is closed and empty, or the task is cancelled. What one receiver gets from one sender is in order.
Task<> recv_all(Stream* stream, unsigned seed, bool limited) {
    Dice dice(seed);
    std::array<unsigned, 2> next{};
    bool more = true;
    while (more) {
        const unsigned pause = dice.below(3);
        const Duration limit = limited ? dice.limit() : 1h;
        co_await yields(pause);
        const auto item = co_await stream->channel.recv().within(limit);
        if (item) {
            stream->balance[item->sender][item->number].fetch_sub(1);
            if (item->number < next[item->sender]) stream->ordered = false;
            next[item->sender] = item->number + 1;
        } else {
            more = item.error() == Errc::timed_out;
        }
    }
}

Task<> close_after(Stream* stream, unsigned pause) {
    co_await yields(pause);
    stream->channel.close();
}

// Four kinds of rounds: nothing but senders and receivers, where a lost value or wake would leave a task waiting for an
// hour; with limits; with a cancel of one side; with an early close.
Task<> a_channel_in_a_race(unsigned seed) {
    Dice dice(seed);
    const bool limited = seed % 4 == 1;
    Stream stream(1 + dice.below(3));
    Scope sending;
    Scope receiving;
    for (unsigned task = 0; task < 2; ++task) {
        const unsigned sender_worker = dice.below(2);
        const unsigned sender_seed = dice.below(1'000'000);
        sending.spawn_on(sender_worker, send_all, &stream, task, sender_seed, limited);
        const unsigned receiver_worker = dice.below(2);
        const unsigned receiver_seed = dice.below(1'000'000);
        receiving.spawn_on(receiver_worker, recv_all, &stream, receiver_seed, limited);
    }
    Scope others;
    const unsigned other_worker = dice.below(2);
    const unsigned other_pause = dice.below(12);
    if (seed % 8 == 2) others.spawn_on(other_worker, cancel_after, other_pause, &sending);
    if (seed % 8 == 6) others.spawn_on(other_worker, cancel_after, other_pause, &receiving);
    if (seed % 4 == 3) others.spawn_on(other_worker, close_after, &stream, other_pause);
    co_await others.join();
    if (seed % 8 == 6) stream.channel.close();  // nobody receives any more
    co_await sending.join();
    stream.channel.close();
    co_await receiving.join();
    while (auto item = stream.channel.try_recv()) stream.balance[item->sender][item->number].fetch_sub(1);
    bool even = true;
    for (const auto& sender : stream.balance)
        for (const auto& value : sender) even &= value == 0;
    CHECK(even);
    CHECK(stream.ordered);
}

Task<> recv_and_destroy(std::unique_ptr<Channel<int>> channel, unsigned pause) {
    co_await yields(pause);
    const auto value = co_await channel->recv();
    CHECK(*value == 7);
    channel.reset();
}

Task<> send_it(Channel<int>* channel, unsigned pause) {
    co_await yields(pause);
    CHECK(channel->try_send(7));
}

Task<> destroyed_at_once(unsigned seed) {
    Dice dice(seed);
    auto channel = std::make_unique<Channel<int>>(1);
    Channel<int>* const shared = channel.get();
    const unsigned receiver_pause = dice.below(4);
    const unsigned sender_pause = dice.below(4);
    Scope scope;
    scope.spawn_on(seed % 2, recv_and_destroy, std::move(channel), receiver_pause);
    scope.spawn_on(1 - seed % 2, send_it, shared, sender_pause);
    co_await scope.join();
}

}  // namespace

TEST_CASE("values that race with limits, cancels and close are delivered once or not taken") {
    Counted::alive = 0;
    in_rounds(a_channel_in_a_race);
    CHECK(Counted::alive == 0);
}

TEST_CASE("a channel may be destroyed by whoever received its last value while the send still runs") {
    in_rounds(destroyed_at_once);
}
