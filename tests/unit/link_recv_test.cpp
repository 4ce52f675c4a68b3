// SPDX-License-Identifier: BSL-1.0
// Receiving: what arrives, in which shape, and how a receive ends.
#include "tests/unit/support.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

using namespace support;

namespace {

std::span<const std::byte> bytes(std::string_view text) {
    return as_bytes(text);
}

// Receives until something other than data comes; gives all text and that error.
Task<std::string> drain(Link* link, std::error_code* end) {
    std::string all;
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) {
            *end = chunk.error();
            co_return all;
        }
        all += chunk->to_string();
    }
}

Task<> feed_bytewise(Link* link, std::string text) {
    for (const char letter : text) {
        (co_await link->send(std::string_view(&letter, 1))).value();
        co_await yield();
        co_await yield();
    }
}

}  // namespace

TEST_CASE("bytes arrive in order and eof follows the last of them") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send(bytes("hello "))).value();
        (co_await pair.near.send("world")).value();
        (co_await pair.near.shutdown_write()).value();
        std::error_code end;
        CHECK(co_await drain(&pair.far, &end) == "hello world");
        CHECK(end == Errc::eof);
        auto again = co_await pair.far.recv();
        CHECK(again.error() == Errc::eof);
    });
}

TEST_CASE("after the peer's end of stream, sending still works") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.shutdown_write()).value();
        auto chunk = co_await pair.far.recv();
        CHECK(chunk.error() == Errc::eof);
        (co_await pair.far.send("a late answer")).value();
        CHECK(co_await recv_text(&pair.near, 13) == "a late answer");
    });
}

TEST_CASE("recv into a span takes what fits and leaves the rest") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("abcdefgh")).value();
        std::array<std::byte, 3> few{};
        auto taken = co_await pair.far.recv(few);
        if (!misbehaves()) CHECK(*taken == 3);
        const std::string text(as_text(std::span(few).first(*taken)));
        CHECK(text + co_await recv_text(&pair.far, 8 - *taken) == "abcdefgh");
    });
}

TEST_CASE("recv_exact fills its span, over many arrivals") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        std::string text(300'000, '\0');
        std::iota(text.begin(), text.end(), '\0');
        Scope scope;
        scope.spawn(
            [](Link* link, std::string_view data) -> Task<> {
                for (std::size_t at = 0; at < data.size(); at += 10'000) {
                    (co_await link->send(data.substr(at, 10'000))).value();
                    co_await yield();
                }
            },
            &pair.near, std::string_view(text));
        std::vector<std::byte> whole(text.size());
        (co_await pair.far.recv_exact(whole)).value();
        CHECK(as_text(whole) == text);
        co_await scope.join();
    });
}

TEST_CASE("recv_exact that ends early consumes nothing") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("abc")).value();
        std::array<std::byte, 8> eight{};
        auto late = co_await pair.far.recv_exact(eight).within(20ms);
        CHECK(late.error() == Errc::timed_out);
        (co_await pair.near.send("def")).value();
        (co_await pair.near.shutdown_write()).value();
        auto ended = co_await pair.far.recv_exact(eight);
        CHECK(ended.error() == Errc::eof);
        CHECK(co_await recv_text(&pair.far, 6) == "abcdef");
    });
}

TEST_CASE("recv_until finds its delimiter wherever the stream is cut") {
    for (const std::string_view delimiter : {"\n", "\r\n", "aab"}) {
        CAPTURE(delimiter);
        in_runtime(
            [](std::string_view end) -> Task<> {
                auto pair = co_await connected();
                const std::string text =
                    "first" + std::string(end) + "aa" + std::string(end) + std::string(end) + "rest";
                Scope scope;
                scope.spawn(feed_bytewise, &pair.near, text);
                CHECK(*(co_await pair.far.recv_until(end, 100)) == "first");
                CHECK(*(co_await pair.far.recv_until(end, 100)) == "aa");
                CHECK(*(co_await pair.far.recv_until(end, 100)) == "");
                std::array<std::byte, 4> rest{};
                (co_await pair.far.recv_exact(rest)).value();
                CHECK(as_text(rest) == "rest");
                co_await scope.join();
            },
            delimiter);
    }
}

TEST_CASE("recv_until is bounded, and what it gave up on is still there") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("exactly ten\n")).value();
        auto fits = co_await pair.far.recv_until("\n", 11);
        CHECK(*fits == "exactly ten");
        (co_await pair.near.send("more than ten\n")).value();
        auto late = co_await pair.far.recv_until("\n", 10).within(5s);
        CHECK(late.error() == Errc::too_long);
        CHECK(co_await recv_text(&pair.far, 14) == "more than ten\n");
        (co_await pair.near.send("no delimiter")).value();
        (co_await pair.near.shutdown_write()).value();
        auto ended = co_await pair.far.recv_until("\n", 100);
        CHECK(ended.error() == Errc::eof);
        CHECK(co_await recv_text(&pair.far, 12) == "no delimiter");
    });
}

TEST_CASE("recv_until searches megabytes without holding the buffer pool") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string text = std::string(12'000'000, 'x') + "\n";
        Scope scope;
        scope.spawn([](Link* link, std::string_view data) -> Task<> { (co_await link->send(data)).value(); },
                    &pair.near, std::string_view(text));
        auto line = co_await pair.far.recv_until("\n", 16'000'000);
        CHECK(line->size() == 12'000'000);
        CHECK(metrics().buffers_lent < 256);
        co_await scope.join();
    });
}

TEST_CASE("a receive with a limit times out, and the next one goes on") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        for (int round = 0; round < 3; ++round) {
            const Instant start = now();
            auto nothing = co_await pair.far.recv().within(10ms);
            CHECK(nothing.error() == Errc::timed_out);
            CHECK(now() - start >= 10ms);
        }
        (co_await pair.near.send("after all")).value();
        auto some = co_await pair.far.recv().within(5s);
        REQUIRE(some);
        const std::string rest = co_await recv_text(&pair.far, 9 - some->size());
        CHECK(some->to_string() + rest == "after all");
        (co_await pair.near.send("!")).value();
        co_await sleep_for(2ms);
        auto past = co_await pair.far.recv().until(now() - 1s);
        CHECK((past || past.error() == Errc::timed_out));
    });
}

TEST_CASE("a renewed limit is the one that counts") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            auto pair = co_await connected();
            for (int round = 0; round < 5; ++round) {
                (co_await pair.near.send("x")).value();
                auto chunk = co_await pair.far.recv().within(10s);
                CHECK(chunk);
                time->advance(9s);  // the entry of an earlier round falls due in between
                co_await passes(3);
            }
            bool begun = false;
            bool ended = false;
            Scope scope;
            scope.spawn(
                [](Link* link, bool* waiting, bool* done) -> Task<> {
                    *waiting = true;
                    auto none = co_await link->recv().within(10s);
                    CHECK(none.error() == Errc::timed_out);
                    *done = true;
                },
                &pair.far, &begun, &ended);
            while (!begun) co_await yield();
            co_await passes(1);
            time->advance(9999ms);
            co_await passes(3);
            CHECK(!ended);
            time->advance(1ms);
            co_await scope.join();
        },
        &clock);
}

TEST_CASE("a cancelled receive ends with cancelled and loses no byte") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        std::error_code error;
        Scope scope;
        scope.spawn([](Link* link, std::error_code* why) -> Task<> { *why = (co_await link->recv()).error(); },
                    &pair.far, &error);
        co_await yield();
        scope.cancel();
        co_await scope.join();
        CHECK(error == Errc::cancelled);
        (co_await pair.near.send("kept")).value();
        CHECK(co_await recv_text(&pair.far, 4) == "kept");
    });
}

TEST_CASE("receives that race with limits lose, repeat and reorder nothing") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        constexpr unsigned total = 20'000;
        Scope scope;
        scope.spawn(
            [](Link* link) -> Task<> {
                for (unsigned number = 0; number < total; ++number) {
                    (co_await link->send(std::as_bytes(std::span(&number, 1)))).value();
                    if (number % 7 == 0) co_await yield();
                }
                (co_await link->shutdown_write()).value();
            },
            &pair.near);
        std::string all;
        unsigned limits = 0;
        for (;;) {
            auto chunk = co_await pair.far.recv().within(std::chrono::microseconds(limits % 40));
            if (chunk)
                all += chunk->to_string();
            else if (chunk.error() == Errc::timed_out)
                ++limits;
            else
                break;
        }
        co_await scope.join();
        REQUIRE(all.size() == total * sizeof(unsigned));
        unsigned wrong = 0;
        for (unsigned number = 0; number < total; ++number)
            wrong += std::memcmp(all.data() + number * sizeof number, &number, sizeof number) != 0;
        CHECK(wrong == 0);
        MESSAGE("limits that ended a receive: " << limits);
    });
}

TEST_CASE("a Chunk can be consumed, copied from and walked" * not_misbehaving()) {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("0123456789")).value();
        auto chunk = co_await pair.far.recv();
        chunk->consume(4);
        CHECK(chunk->size() == 6);
        CHECK(as_text(chunk->front()) == "456789");
        std::array<std::byte, 3> three{};
        CHECK(chunk->copy_to(three) == 3);
        CHECK(as_text(three) == "456");
        std::string walked;
        chunk->for_each([&](std::span<const std::byte> piece) { walked += as_text(piece); });
        CHECK(walked == "456789");
        chunk->consume(6);
        CHECK(chunk->empty());
        CHECK(metrics().buffers_lent <= 1);
    });
}

TEST_CASE("not receiving closes the window: what a sender can push ahead is bounded") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("x")).value();
        auto first = co_await pair.far.recv();  // reading is armed from here on
        const std::string block(1 << 20, 'b');
        std::size_t pushed = 0;
        for (;;) {
            auto sent = co_await pair.near.send(block).within(200ms);
            if (!sent) break;
            pushed += *sent;
            REQUIRE(pushed < (std::size_t{64} << 20));
        }
        CHECK(metrics().buffers_lent < 200);
        MESSAGE("bytes taken before the window closed: " << pushed);
        pair.near.abort();
    });
}

namespace {

// Of a mebibyte, of which as much is there before the first receive as goes: the size of the largest Chunk.
Task<std::size_t> largest_chunk(bool short_bursts) {
    constexpr std::size_t total = 1 << 20;
    auto pair = co_await connected();
    Scope sending;
    sending.spawn([](Link* to) -> Task<> { (co_await to->send(std::string(total, 'b'))).value(); }, &pair.far);
    co_await passes(20);
    std::size_t largest = 0;
    for (std::size_t received = 0; received < total;) {
        auto chunk = co_await pair.near.recv().in_short_bursts(short_bursts);
        received += chunk.value().size();
        largest = std::max(largest, chunk->size());
    }
    co_await sending.join();
    co_return largest;
}

}  // namespace

TEST_CASE("in short bursts, Chunks are at most half as large") {
    in_runtime([]() -> Task<> {
        const std::size_t smaller = co_await largest_chunk(true);
        const std::size_t larger = co_await largest_chunk(false);
        MESSAGE("in short bursts " << smaller << ", else " << larger);
        CHECK(smaller <= 128 * 1024);
        CHECK(larger <= 256 * 1024);
    });
}
