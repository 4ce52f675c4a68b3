// SPDX-License-Identifier: BSL-1.0
// Channel: how each send and recv ends, in which order values arrive, and close.
#include "tests/unit/waits.hpp"

#include <array>
#include <thread>
#include <vector>

using namespace support;

namespace {

Task<> produce(Channel<unsigned>* channel, unsigned producer, unsigned count) {
    for (unsigned number = 0; number < count; ++number) (co_await channel->send(producer * 1'000'000 + number)).value();
}

Task<> consume(Channel<unsigned>* channel, std::vector<unsigned>* got) {
    while (auto value = co_await channel->recv()) got->push_back(*value);
}

Task<> send_one(Channel<int>* channel, int value, Ended* ended) {
    const auto sent = co_await channel->send(value);
    ended->error = sent.error();
    ended->yes = true;
}

struct Received {
    Ended ended;
    int value = 0;
};

Task<> recv_one(Channel<int>* channel, Received* received) {
    const auto value = co_await channel->recv();
    received->ended.error = value.error();
    received->ended.yes = true;
    if (value) received->value = *value;
}

}  // namespace

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

TEST_CASE("a send into a channel with room completes at once, whatever its limit; a full one makes it time out") {
    in_runtime([]() -> Task<> {
        Channel<int> channel(2);
        const auto plain = co_await channel.send(1);
        CHECK(plain);
        const auto past = co_await channel.send(2).until(now() - 1s);
        CHECK(past);
        const auto full = co_await channel.send(3).until(now() - 1s);
        CHECK(full.error() == Errc::timed_out);
        const auto late = co_await channel.send(4).within(1ms);
        CHECK(late.error() == Errc::timed_out);
        CHECK(channel.size() == 2);
        CHECK(channel.try_recv() == 1);
        CHECK(channel.try_recv() == 2);
        CHECK(channel.try_recv() == std::nullopt);
    });
}

TEST_CASE("a recv from a channel with values completes at once, whatever its limit; an empty one makes it time out") {
    in_runtime([]() -> Task<> {
        Channel<int> channel(2);
        CHECK(channel.try_send(1));
        CHECK(channel.try_send(2));
        const auto plain = co_await channel.recv();
        CHECK(*plain == 1);
        const auto past = co_await channel.recv().until(now() - 1s);
        CHECK(*past == 2);
        const auto empty = co_await channel.recv().until(now() - 1s);
        CHECK(empty.error() == Errc::timed_out);
        const auto late = co_await channel.recv().within(1ms);
        CHECK(late.error() == Errc::timed_out);
    });
}

TEST_CASE("senders that wait are served in their order, and each recv lets one in") {
    in_runtime([]() -> Task<> {
        Channel<int> channel(1);
        CHECK(channel.try_send(0));
        std::array<Ended, 3> sent;
        Scope scope;
        for (int id = 0; id < 3; ++id) scope.spawn(send_one, &channel, id + 1, &sent[static_cast<unsigned>(id)]);
        co_await passes(2);
        CHECK(!sent[0].yes);
        for (int id = 0; id < 4; ++id) {
            const auto value = channel.try_recv();
            CHECK(value == id);
            CHECK(!channel.try_send(9) == (id < 3));  // the place is the oldest sender's at once
            if (id == 3) CHECK(channel.try_recv() == 9);
            co_await passes(2);
            if (id < 3) CHECK(sent[static_cast<unsigned>(id)].yes);
        }
        co_await scope.join();
    });
}

TEST_CASE("receivers that wait are served in their order") {
    in_runtime([]() -> Task<> {
        Channel<int> channel(4);
        std::array<Received, 3> got;
        Scope scope;
        for (auto& one : got) scope.spawn(recv_one, &channel, &one);
        co_await passes(2);
        for (int value = 10; value < 14; ++value) CHECK(channel.try_send(value));
        CHECK(channel.size() == 1);  // three were handed over
        co_await scope.join();
        CHECK(got[0].value == 10);
        CHECK(got[1].value == 11);
        CHECK(got[2].value == 12);
        CHECK(channel.try_recv() == 13);
    });
}

TEST_CASE("a cancelled send takes its value with it, whether it waited or not, and the sender behind it goes on") {
    in_runtime([]() -> Task<> {
        Channel<int> channel(1);
        Ended before;
        co_await cancelled_before(send_one, &channel, 1, &before);
        CHECK(before.error == Errc::cancelled);
        CHECK(channel.size() == 0);
        CHECK(channel.try_send(2));
        Ended waiting;
        Ended behind;
        Scope first;
        first.spawn(send_one, &channel, 3, &waiting);
        Scope second;
        second.spawn(send_one, &channel, 4, &behind);
        co_await passes(2);
        first.cancel();
        co_await first.join();
        CHECK(waiting.error == Errc::cancelled);
        CHECK(channel.try_recv() == 2);
        co_await second.join();
        CHECK(!behind.error);
        CHECK(channel.try_recv() == 4);
        CHECK(channel.size() == 0);
    });
}

TEST_CASE("a cancelled recv takes what is there but does not wait") {
    in_runtime([]() -> Task<> {
        Channel<int> channel(1);
        CHECK(channel.try_send(1));
        Received there;
        co_await cancelled_before(recv_one, &channel, &there);
        CHECK(there.value == 1);
        Received before;
        co_await cancelled_before(recv_one, &channel, &before);
        CHECK(before.ended.error == Errc::cancelled);
        Received waiting;
        co_await cancelled_while_waiting(recv_one, &channel, &waiting);
        CHECK(waiting.ended.error == Errc::cancelled);
        CHECK(channel.try_send(2));
        CHECK(channel.size() == 1);  // nobody was handed it
    });
}

TEST_CASE("what was handed over before the cancel is delivered, and what was taken stays") {
    in_runtime([]() -> Task<> {
        Channel<int> channel(1);
        Received received;
        Scope receiving;
        receiving.spawn(recv_one, &channel, &received);
        co_await passes(2);
        CHECK(channel.try_send(1));
        receiving.cancel();
        co_await receiving.join();
        CHECK(received.value == 1);
        CHECK(channel.try_send(2));
        Ended sent;
        Scope sending;
        sending.spawn(send_one, &channel, 3, &sent);
        co_await passes(2);
        CHECK(channel.try_recv() == 2);
        sending.cancel();
        co_await sending.join();
        CHECK(sent.yes);
        CHECK(!sent.error);
        CHECK(channel.try_recv() == 3);
    });
}

TEST_CASE("close ends every wait; what was taken is drained, also by tasks that were cancelled") {
    in_runtime([]() -> Task<> {
        Channel<int> empty(1);
        std::array<Received, 2> receivers;
        Scope receiving;
        for (auto& one : receivers) receiving.spawn(recv_one, &empty, &one);
        Channel<int> full(1);
        CHECK(full.try_send(1));
        std::array<Ended, 2> senders;
        Scope sending;
        for (auto& one : senders) sending.spawn(send_one, &full, 2, &one);
        co_await passes(2);
        empty.close();
        full.close();
        co_await receiving.join();
        co_await sending.join();
        for (const auto& one : receivers) CHECK(one.ended.error == Errc::closed);
        for (const auto& one : senders) CHECK(one.error == Errc::closed);
        CHECK(full.is_closed());
        CHECK(!full.try_send(3));
        Ended late;
        co_await cancelled_before(send_one, &full, 4, &late);
        CHECK(late.error == Errc::closed);
        Received rest;
        co_await cancelled_before(recv_one, &full, &rest);
        CHECK(rest.value == 1);
        Received none;
        co_await cancelled_before(recv_one, &full, &none);
        CHECK(none.ended.error == Errc::closed);
    });
}

TEST_CASE("plain threads send, receive and close" * not_simulated()) {
    in_runtime([]() -> Task<> {
        Channel<unsigned> there(3);
        Channel<unsigned> back(3);
        constexpr unsigned count = 2000;
        std::thread mirror([&] {
            for (unsigned seen = 0; seen < count;) {
                auto value = there.try_recv();
                if (!value) {
                    std::this_thread::yield();
                    continue;
                }
                while (!back.try_send(*value)) std::this_thread::yield();
                ++seen;
            }
            back.close();
        });
        std::vector<unsigned> got;
        Scope scope;
        scope.spawn(produce, &there, 0U, count);
        scope.spawn(consume, &back, &got);
        co_await scope.join();
        mirror.join();
        bool ordered = got.size() == count;
        for (unsigned number = 0; ordered && number < count; ++number) ordered = got[number] == number;
        CHECK(ordered);
    });
}
