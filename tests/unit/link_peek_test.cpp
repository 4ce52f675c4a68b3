// SPDX-License-Identifier: BSL-1.0
// Looking at what has arrived without taking it, and when it arrived.
#include "tests/unit/support.hpp"

#include <array>

using namespace support;

namespace {

using Room = std::array<std::byte, 8>;

std::string_view first(const Room& room, std::size_t count) {
    return as_text(std::span(room).first(count));
}

}  // namespace

TEST_CASE("peek shows what has arrived, as often as asked, and takes nothing") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("GET /index")).value();
        Room room{};
        for (int time = 0; time < 3; ++time) {
            auto seen = co_await pair.far.peek(room, 8);
            CHECK(first(room, seen.value()) == "GET /ind");
        }
        auto few = co_await pair.far.peek(std::span(room).first(3));
        CHECK(few.value() == 3);
        auto line = co_await pair.far.recv_until("/", 100);
        CHECK(line.value() == "GET ");
        auto rest = co_await pair.far.peek(room);
        CHECK(first(room, rest.value()) == "index");
        CHECK((co_await pair.far.recv())->to_string() == "index");
    });
}

TEST_CASE("peek waits until there is as much as it was told, however it comes") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        std::size_t seen = 0;
        Room room{};
        Scope scope;
        scope.spawn([](Link* link, Room* into,
                       std::size_t* count) -> Task<> { *count = (co_await link->peek(*into, 4)).value(); },
                    &pair.far, &room, &seen);
        for (const std::string_view letter : {"a", "b", "c"}) {
            (co_await pair.near.send(letter)).value();
            co_await passes(5);
            CHECK(seen == 0);
        }
        (co_await pair.near.send("defghijkl")).value();
        co_await scope.join();
        CHECK(seen >= 4);
        CHECK(first(room, 4) == "abcd");
        std::array<std::byte, 12> all{};
        (co_await pair.far.recv_exact(all)).value();
        CHECK(as_text(all) == "abcdefghijkl");
    });
}

TEST_CASE("peek may wait for more than a Link reads ahead") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        constexpr std::size_t size = 1'000'000;
        const std::string text(size, 'p');
        Scope scope;
        scope.spawn([](Link* link, std::string_view data) -> Task<> { (co_await link->send(data)).value(); },
                    &pair.near, std::string_view(text));
        std::string seen(size, '\0');
        auto peeked = co_await pair.far.peek(std::as_writable_bytes(std::span(seen)), size);
        CHECK(peeked.value() == size);
        CHECK(seen == text);
        CHECK(metrics().buffers_lent < 256);
        std::string taken(size, '\0');
        (co_await pair.far.recv_exact(std::as_writable_bytes(std::span(taken)))).value();
        CHECK(taken == text);
        co_await scope.join();
    });
}

TEST_CASE("peek that ends early leaves everything: with a limit, with the end of the stream") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Room room{};
        (co_await pair.near.send("abc")).value();
        auto late = co_await pair.far.peek(room, 4).within(10ms);
        CHECK(late.error() == Errc::timed_out);
        (co_await pair.near.shutdown_write()).value();
        auto ended = co_await pair.far.peek(room, 4);
        CHECK(ended.error() == Errc::eof);
        auto all = co_await pair.far.peek(room);
        CHECK(first(room, all.value()) == "abc");
        CHECK((co_await pair.far.recv())->to_string() == "abc");
        auto none = co_await pair.far.peek(room);
        CHECK(none.error() == Errc::eof);
    });
}

TEST_CASE("a stamped receive tells when its bytes were delivered, not when they were taken") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            auto pair = co_await connected();
            (co_await pair.near.send("one")).value();
            const Instant start = now();
            auto one = co_await pair.far.recv().stamped();
            CHECK(one->arrived() == start);
            // Nobody waits: the receive that is armed already brings it.
            time->advance(3s);
            (co_await pair.near.send("two")).value();
            co_await passes(20);
            time->advance(4s);
            Room room{};
            (co_await pair.far.peek(room)).value();
            auto two = co_await pair.far.recv();
            CHECK(two->to_string() == "two");
            CHECK(two->arrived() == start + 3s);
        },
        &clock);
}

TEST_CASE("the stamp of what was put back is that of its arrival") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            auto pair = co_await connected();
            const Instant start = now();
            (co_await pair.near.send("x")).value();
            (co_await pair.far.recv().stamped()).value();
            (co_await pair.near.send("abc")).value();
            Room room{};
            Scope scope;
            scope.spawn(
                [](Link* link, Room* into) -> Task<> {
                    const auto short_of = co_await link->recv_exact(*into).within(5s);
                    CHECK(short_of.error() == Errc::timed_out);
                },
                &pair.far, &room);
            co_await passes(20);
            time->advance(5s);
            co_await scope.join();
            auto back = co_await pair.far.recv();
            CHECK(back->to_string() == "abc");
            CHECK(back->arrived() == start);
        },
        &clock);
}

TEST_CASE("without being asked, nothing is stamped") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("x")).value();
        auto chunk = co_await pair.far.recv();
        CHECK(chunk->arrived() == Instant());
        CHECK(Chunk().arrived() == Instant());
    });
}
