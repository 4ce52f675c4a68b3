// SPDX-License-Identifier: BSL-1.0
// Outbox: water marks, what becomes of messages to slow receivers, and the waits for room and for the end.
#include "tests/unit/support.hpp"

#include <array>
#include <string>
#include <vector>

using namespace support;

namespace {

OutboxOptions marks(std::size_t high, std::size_t low, SlowReceiver slow) {
    OutboxOptions options;
    options.high_water = high;
    options.low_water = low;
    options.slow_receiver = slow;
    return options;
}

Payload filled(std::size_t size, char with) {
    return Payload(std::string(size, with));
}

// Queues blocks until the kernel takes no more of them and the Outbox stays at its high-water mark.
Task<std::size_t> stuff(const Outbox* outbox, std::size_t block) {
    const Payload payload = filled(block, 's');
    std::size_t sent = 0;
    for (;;) {
        const auto queued = co_await outbox->send(payload).within(20ms);
        if (!queued) break;
        sent += block;
    }
    co_return sent;
}

Task<> receive_all(Link* link, std::string* all, std::error_code* end) {
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) {
            *end = chunk.error();
            break;
        }
        *all += chunk->to_string();
    }
}

Task<> drop_into(Link* link, std::size_t* total) {
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) break;
        *total += chunk->size();
    }
}

Task<> send_and_note(const Outbox* outbox, unsigned number, std::vector<unsigned>* order, std::error_code* error) {
    const auto sent = co_await outbox->send(Payload(std::to_string(number) + "\n"));
    *error = sent.error();
    if (sent) order->push_back(number);
}

RuntimeOptions four_workers() {
    RuntimeOptions options = one_worker();
    options.workers = 4;
    return options;
}

}  // namespace

TEST_CASE("a send waits above the high-water mark until the count is at the low-water mark") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(marks(256 << 10, 64 << 10, SlowReceiver::wait));
        const std::size_t stuffed = co_await stuff(&outbox, 16 << 10);
        CHECK(outbox.queued() >= 256 << 10);
        CHECK(outbox.queued() < (256 << 10) + (16 << 10));
        CHECK(outbox.post(filled(1, 'x')) == Posted::full);
        const auto no_room = co_await outbox.writable().within(1ms);
        CHECK(no_room.error() == Errc::timed_out);
        const auto too_long = co_await outbox.send(filled(10, 'x')).within(1ms);
        CHECK(too_long.error() == Errc::timed_out);
        std::size_t received = 0;
        Scope scope;
        scope.spawn(drop_into, &pair.far, &received);
        (co_await outbox.writable()).value();
        CHECK(outbox.queued() <= 64 << 10);
        (co_await outbox.send(filled(10, 'e'))).value();
        CHECK(outbox.post(filled(10, 'e')) == Posted::queued);
        (co_await outbox.drained()).value();
        CHECK(outbox.queued() == 0);
        co_await pair.near.close();
        co_await scope.join();
        CHECK(received == stuffed + 20);
    });
}

TEST_CASE("a half close ends the waits for room with closed") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(marks(64 << 10, 0, SlowReceiver::wait));
        const std::size_t stuffed = co_await stuff(&outbox, 16 << 10);
        std::vector<unsigned> order;
        std::error_code error;
        std::size_t received = 0;
        Scope scope;
        Scope waiting;
        waiting.spawn(send_and_note, &outbox, 1U, &order, &error);
        co_await passes(3);
        scope.spawn([](Link* link) -> Task<> { (co_await link->shutdown_write()).value(); }, &pair.near);
        co_await waiting.join();
        CHECK(error == Errc::closed);
        CHECK(order.empty());
        scope.spawn(drop_into, &pair.far, &received);
        co_await scope.join();
        CHECK(received == stuffed);
        CHECK(outbox.queued() == 0);
    });
}

TEST_CASE("waiting sends are let through in their order, and a cancelled one is passed over" * not_misbehaving()) {
    in_runtime([]() -> Task<> {
        constexpr unsigned senders = 20;
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(marks(64 << 10, 0, SlowReceiver::wait));
        const std::size_t stuffed = co_await stuff(&outbox, 64 << 10);
        std::vector<unsigned> order;
        std::array<std::error_code, senders> errors;
        Scope scope;
        Scope impatient;
        for (unsigned number = 0; number < senders; ++number) {
            (number % 5 == 3 ? impatient : scope).spawn(send_and_note, &outbox, number, &order, &errors[number]);
            co_await passes(2);
        }
        impatient.cancel();
        co_await impatient.join();
        CHECK(order.empty());
        std::string all;
        std::error_code end;
        Scope reader;
        reader.spawn(receive_all, &pair.far, &all, &end);
        co_await scope.join();
        co_await pair.near.close();
        co_await reader.join();
        std::string expected;
        std::vector<unsigned> expected_order;
        for (unsigned number = 0; number < senders; ++number) {
            const bool cancelled = number % 5 == 3;
            CHECK(errors[number] == (cancelled ? make_error_code(Errc::cancelled) : std::error_code()));
            if (cancelled) continue;
            expected_order.push_back(number);
            expected += std::to_string(number) + "\n";
        }
        CHECK(order == expected_order);
        REQUIRE(all.size() == stuffed + expected.size());
        CHECK(all.substr(stuffed) == expected);
    });
}

TEST_CASE("a message longer than the high-water mark is sent, alone") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(marks(1000, 0, SlowReceiver::wait));
        std::size_t received = 0;
        Scope scope;
        scope.spawn(drop_into, &pair.far, &received);
        for (int round = 0; round < 5; ++round) {
            auto sent = co_await outbox.send(filled(5'000'000, 'l'));
            CHECK(sent);
            CHECK(outbox.post(filled(1, 'x')) == Posted::full);
        }
        co_await pair.near.close();
        co_await scope.join();
        CHECK(received == 25'000'000);
    });
}

TEST_CASE("drop_oldest keeps the newest messages within the mark, and says what it has dropped") {
    in_runtime([]() -> Task<> {
        constexpr std::size_t size = 32 << 10;
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(marks(512 << 10, 64 << 10, SlowReceiver::drop_oldest));
        unsigned posted = 0;
        for (; outbox.dropped() < 100; ++posted) {
            const std::uint64_t before = outbox.dropped();
            const Posted outcome = outbox.post(filled(size, static_cast<char>('a' + posted % 26)));
            CHECK(outcome == (outbox.dropped() > before ? Posted::dropped_older : Posted::queued));
            CHECK(outbox.queued() <= 512 << 10);
            if (posted % 4 == 0) co_await yield();
        }
        std::string all;
        std::error_code end;
        Scope scope;
        scope.spawn(receive_all, &pair.far, &all, &end);
        (co_await outbox.drained()).value();
        co_await pair.near.close();
        co_await scope.join();
        CHECK(all.size() == (posted - outbox.dropped()) * size);
        // Whole messages; and the last 448 KiB are the newest without a gap.
        bool whole = true;
        for (std::size_t at = 0; at < all.size(); at += size)
            whole &= all.compare(at, size, std::string(size, all[at])) == 0;
        CHECK(whole);
        bool newest = true;
        for (unsigned back = 1; back <= 13; ++back)
            newest &= all[all.size() - back * size] == static_cast<char>('a' + (posted - back) % 26);
        CHECK(newest);
    });
}

TEST_CASE("latest_only lets a receiver that was slow find the latest, and little that is stale") {
    in_runtime([]() -> Task<> {
        constexpr std::size_t size = 64 << 10;
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(marks(1 << 20, 0, SlowReceiver::latest_only));
        unsigned posted = 0;
        for (; outbox.dropped() < 500; ++posted) {
            outbox.post(filled(size, static_cast<char>('a' + posted % 26)));
            CHECK(outbox.queued() <= 2 * size);
            co_await yield();
        }
        std::string all;
        std::error_code end;
        Scope scope;
        scope.spawn(receive_all, &pair.far, &all, &end);
        (co_await outbox.drained()).value();
        co_await pair.near.close();
        co_await scope.join();
        CHECK(all.back() == static_cast<char>('a' + (posted - 1) % 26));
        CHECK(all.size() == (posted - outbox.dropped()) * size);
    });
}

TEST_CASE("sends of the Link's own keep their place among messages that may be dropped") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(marks(1 << 20, 0, SlowReceiver::latest_only));
        std::string expected;
        for (int round = 0; round < 100; ++round) {
            const std::string number = std::to_string(round) + ";";
            outbox.post(Payload("p" + number));
            (co_await pair.near.send("s" + number)).value();
            expected += "p" + number + "s" + number;
        }
        CHECK(outbox.dropped() == 0);
        std::string got(expected.size(), '\0');
        (co_await pair.far.recv_exact(std::as_writable_bytes(std::span(got)))).value();
        CHECK(got == expected);
    });
}

TEST_CASE("the end of the Link ends every wait with closed") {
    for (const bool graceful : {false, true}) {
        in_runtime(
            [](bool close) -> Task<> {
                auto pair = co_await connected();
                const Outbox outbox = pair.near.outbox(marks(64 << 10, 0, SlowReceiver::wait));
                co_await stuff(&outbox, 64 << 10);
                std::array<std::error_code, 3> ends;
                Scope scope;
                scope.spawn(
                    [](const Outbox* box, std::error_code* end) -> Task<> {
                        const auto sent = co_await box->send(filled(10, 'x'));
                        *end = sent.error();
                    },
                    &outbox, &ends[0]);
                scope.spawn(
                    [](const Outbox* box, std::error_code* end) -> Task<> {
                        const auto room = co_await box->writable();
                        *end = room.error();
                    },
                    &outbox, &ends[1]);
                scope.spawn(
                    [](const Outbox* box, std::error_code* end) -> Task<> {
                        const auto drained = co_await box->drained();
                        *end = drained.error();
                    },
                    &outbox, &ends[2]);
                co_await passes(3);
                if (close)
                    co_await pair.near.close().within(20ms);
                else
                    pair.near.abort();
                co_await scope.join();
                for (const std::error_code& end : ends) CHECK(end == Errc::closed);
                const auto late = co_await outbox.send(filled(10, 'x'));
                CHECK(late.error() == Errc::closed);
                const auto late_drain = co_await outbox.drained();
                CHECK(late_drain.error() == Errc::closed);
                while (outbox.queued() > 0) co_await yield();  // the last of it was with the kernel
                const Outbox nobodys;
                const auto none = co_await nobodys.send(filled(10, 'x'));
                CHECK(none.error() == Errc::closed);
            },
            graceful);
    }
}

TEST_CASE("the handle that a wait was begun with may go while it waits") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        auto outbox = pair.near.outbox(marks(64 << 10, 0, SlowReceiver::wait));
        co_await stuff(&outbox, 64 << 10);
        std::error_code end;
        Scope scope;
        scope.spawn(
            [](Outbox* box, std::error_code* error) -> Task<> {
                const auto sent = co_await box->send(filled(10, 'x'));
                *error = sent.error();
            },
            &outbox, &end);
        co_await passes(2);
        outbox = Outbox();
        pair.near = Link();
        co_await scope.join();
        CHECK(end == Errc::closed);
    });
}

TEST_CASE("a stuck receiver is waited for by its own senders only") {
    in_runtime([]() -> Task<> {
        auto stuck = co_await connected();
        auto live = co_await connected();
        const Outbox slow = stuck.near.outbox(marks(256 << 10, 0, SlowReceiver::drop_oldest));
        const Outbox fast = live.near.outbox(marks(256 << 10, 0, SlowReceiver::drop_oldest));
        const Payload payload = filled(16 << 10, 'b');
        std::vector<std::byte> got(16 << 10);
        for (int message = 0; message < 1000; ++message) {
            slow.post(payload);
            CHECK(fast.post(payload) == Posted::queued);
            (co_await live.far.recv_exact(got)).value();
        }
        CHECK(fast.dropped() == 0);
        CHECK(slow.dropped() > 100);
        CHECK(slow.queued() <= 256 << 10);
        CHECK(payload.shared_by() <= 1 + 17);
    });
}

TEST_CASE("senders of four workers over one small Outbox lose nothing, and each one's order is kept") {
    in_runtime_with(four_workers(), []() -> Task<> {
        constexpr unsigned senders = 16;
        constexpr unsigned each = 200;
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(marks(500, 100, SlowReceiver::wait));
        Scope scope;
        for (unsigned sender = 0; sender < senders; ++sender)
            scope.spawn_on(
                sender % 4,
                [](Outbox box, unsigned from) -> Task<> {
                    for (unsigned number = 0; number < each; ++number) {
                        auto sent =
                            co_await box.send(Payload(std::to_string(from) + " " + std::to_string(number) + "\n"));
                        CHECK(sent);
                        if (number % 16 == 0) {
                            const auto drained = co_await box.drained();
                            CHECK(drained);
                        }
                    }
                },
                outbox, sender);
        std::array<unsigned, senders> next{};
        bool ordered = true;
        for (unsigned line = 0; line < senders * each; ++line) {
            auto text = co_await pair.far.recv_until("\n", 100);
            REQUIRE(text);
            unsigned sender = 0;
            unsigned number = 0;
            REQUIRE(std::sscanf(text->c_str(), "%u %u", &sender, &number) == 2);
            ordered &= number == next[sender]++;
        }
        co_await scope.join();
        CHECK(ordered);
        (co_await outbox.drained()).value();
    });
}

TEST_CASE("a thousand posts at once leave in at most two sends") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox();
        co_await passes(2);
        const Payload payload = filled(100, 'p');
        const std::uint64_t before = metrics().completions;
        for (int post = 0; post < 1000; ++post) REQUIRE(outbox.post(payload) == Posted::queued);
        (co_await outbox.drained()).value();
        CHECK(metrics().completions - before <= 2);
        std::vector<std::byte> all(100'000);
        (co_await pair.far.recv_exact(all)).value();
    });
}
