// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <thread>
#include <vector>

using namespace support;

TEST_CASE("posts arrive whole and in order, from this worker and from foreign threads" * not_simulated()) {
    in_runtime([]() -> Task<> {
        constexpr unsigned threads = 4;
        constexpr unsigned each = 2000;
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(std::size_t{64} << 20);
        std::vector<std::thread> posters;
        for (unsigned thread = 0; thread < threads; ++thread)
            posters.emplace_back([outbox, thread] {
                for (unsigned number = 0; number < each; ++number)
                    if (outbox.post(Payload(std::to_string(thread) + " " + std::to_string(number) + "\n")) !=
                        Posted::queued)
                        std::abort();
            });
        std::vector<unsigned> next(threads);
        bool ordered = true;
        for (unsigned line = 0; line < threads * each; ++line) {
            auto text = co_await pair.far.recv_until("\n", 100);
            REQUIRE(text);
            unsigned thread = 0;
            unsigned number = 0;
            REQUIRE(std::sscanf(text->c_str(), "%u %u", &thread, &number) == 2);
            ordered &= number == next[thread]++;
        }
        CHECK(ordered);
        for (auto& poster : posters) poster.join();
        while (outbox.queued() > 0) co_await yield();
    });
}

TEST_CASE("one payload serves all receivers") {
    in_runtime([]() -> Task<> {
        std::vector<Pair> pairs;
        for (int receiver = 0; receiver < 20; ++receiver) pairs.push_back(co_await connected());
        Payload payload(std::string(100'000, 'p'));
        for (Pair& pair : pairs) CHECK(pair.near.outbox().post(payload) == Posted::queued);
        CHECK(payload.shared_by() == 21);
        std::vector<std::byte> got(100'000);
        for (Pair& pair : pairs) (co_await pair.far.recv_exact(got)).value();
        co_await sleep_for(1ms);
        CHECK(payload.shared_by() == 1);
    });
}

TEST_CASE("a receiver that stops reading is reset above its limit") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(1 << 20);
        const Payload payload(std::string(65536, 'p'));
        Posted posted = Posted::queued;
        int count = 0;
        while (posted == Posted::queued) {
            posted = outbox.post(payload);
            ++count;
            co_await yield();
        }
        CHECK(posted == Posted::overflow);
        CHECK(outbox.post(payload) == Posted::closed);
        MESSAGE("posts of 64 KiB before the overflow: " << count);
        std::error_code end;
        while (!end) end = (co_await pair.far.recv()).error();
        CHECK(end == std::error_code(ECONNRESET, std::system_category()));
        while (outbox.queued() > 0) co_await yield();
        CHECK(payload.shared_by() == 1);
    });
}

TEST_CASE("an Outbox outlives its Link, and the runtime") {
    Outbox kept;
    Payload payload(std::string("x"));
    in_runtime(
        [](Outbox* keep) -> Task<> {
            auto pair = co_await connected();
            *keep = pair.near.outbox();
            CHECK(keep->post(Payload(std::string("hello"))) == Posted::queued);
            std::array<std::byte, 5> five{};
            (co_await pair.far.recv_exact(five)).value();
            co_await pair.near.close();
            CHECK(keep->post(Payload(std::string("late"))) == Posted::closed);
        },
        &kept);
    CHECK(kept.post(payload) == Posted::closed);
    CHECK(payload.shared_by() == 1);
    CHECK(Outbox().post(payload) == Posted::closed);
}

TEST_CASE("posts and sends of one task leave in the order of the calls") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox();
        std::string expected;
        for (int round = 0; round < 100; ++round) {
            outbox.post(Payload("p" + std::to_string(round) + ";"));
            const std::string sent = "s" + std::to_string(round) + ";";
            (co_await pair.near.send(sent)).value();
            expected += "p" + std::to_string(round) + ";" + sent;
        }
        std::string got(expected.size(), '\0');
        (co_await pair.far.recv_exact(std::as_writable_bytes(std::span(got)))).value();
        CHECK(got == expected);
    });
}

TEST_CASE(
    "after shutdown_write every post is refused, and what was posted before leaves before the end of the stream") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox();
        CHECK(outbox.post(Payload(std::string("before"))) == Posted::queued);
        (co_await pair.near.shutdown_write()).value();
        CHECK(outbox.post(Payload(std::string("late"))) == Posted::closed);
        const auto sent = co_await outbox.send(Payload(std::string("late")));
        CHECK(sent.error() == Errc::closed);
        const auto room = co_await outbox.writable();
        CHECK(room.error() == Errc::closed);
        const auto drained = co_await outbox.drained();
        CHECK(drained);
        CHECK(pair.near.outbox().post(Payload(std::string("late"))) == Posted::closed);
        CHECK(co_await recv_text(&pair.far, 6) == "before");
        const auto end = co_await pair.far.recv();
        CHECK(end.error() == Errc::eof);
        (co_await pair.far.send("and back")).value();  // the other direction goes on
        CHECK(co_await recv_text(&pair.near, 8) == "and back");
        // The first Outbox of a Link that has half closed already.
        const Outbox first = pair.far.outbox();
        CHECK(first.post(Payload(std::string("!"))) == Posted::queued);
        (co_await pair.far.shutdown_write()).value();
        CHECK(co_await recv_text(&pair.near, 1) == "!");
    });
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.shutdown_write()).value();
        CHECK(pair.near.outbox().post(Payload(std::string("late"))) == Posted::closed);
    });
}

TEST_CASE("a shutdown_write that is given up before its turn opens the Outboxes again") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        OutboxOptions options;
        options.high_water = std::size_t{16} << 20;
        options.slow_receiver = SlowReceiver::wait;
        const Outbox outbox = pair.near.outbox(options);
        std::size_t sent = 0;
        for (; outbox.queued() < std::size_t{8} << 20; sent += 1 << 20) {  // more than the kernel takes
            CHECK(outbox.post(Payload(std::string(1 << 20, 'f'))) == Posted::queued);
            co_await passes(3);
        }
        for (const bool both : {true, false}) {
            const auto half = co_await pair.near.shutdown_write().within(1ms);
            CHECK(half.error() == Errc::timed_out);
            CHECK(outbox.post(Payload(std::string("x"))) == Posted::queued);
            ++sent;
            if (!both) continue;
            // Of two, one that stays keeps them closed.
            Scope stays;
            stays.spawn([](Link* link) -> Task<> { (void)co_await link->shutdown_write(); }, &pair.near);
            co_await passes(2);
            const auto another = co_await pair.near.shutdown_write().within(1ms);
            CHECK(another.error() == Errc::timed_out);
            CHECK(outbox.post(Payload(std::string("x"))) == Posted::closed);
            stays.cancel();
            co_await stays.join();
        }
        std::size_t received = 0;
        Scope scope;
        scope.spawn(
            [](Link* link, std::size_t* total) -> Task<> {
                while (auto chunk = co_await link->recv()) *total += chunk->size();
            },
            &pair.far, &received);
        (co_await outbox.drained()).value();
        (co_await pair.near.shutdown_write()).value();
        co_await scope.join();
        CHECK(received == sent);
    });
}

TEST_CASE("what was posted before close is still sent") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox(std::size_t{8} << 20);
        for (int post = 0; post < 40; ++post) outbox.post(Payload(std::string(100'000, 'p')));
        std::size_t received = 0;
        Scope scope;
        scope.spawn(
            [](Link* link, std::size_t* total) -> Task<> {
                while (auto chunk = co_await link->recv()) *total += chunk->size();
            },
            &pair.far, &received);
        co_await pair.near.close();
        co_await scope.join();
        CHECK(received == 4'000'000);
    });
}
