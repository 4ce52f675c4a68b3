// SPDX-License-Identifier: BSL-1.0
// The ends of a Link that take their time: graceful closes, idle Links, resets after a while.
#include "tests/unit/support.hpp"

#include <numeric>

using namespace support;

namespace {

// What the other end got, and how its stream ended.
struct Got {
    std::string bytes;
    std::error_code end;
};

Task<> read_all(Link* link, Got* got) {
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) {
            got->end = chunk.error();
            co_return;
        }
        got->bytes += chunk->to_string();
    }
}

Task<> read_all_then_close(Link* link, Got* got) {
    co_await read_all(link, got);
    co_await link->close();
}

Task<> send_all(Link* link, std::string_view bytes, std::error_code* error) {
    *error = (co_await link->send(bytes)).error();
}

Task<> close_gracefully(Link* link, Duration timeout, int* peer_ended) {
    const bool ended = co_await link->close_gracefully(timeout);
    *peer_ended = ended ? 1 : 0;
}

std::string numbered(std::size_t size) {
    std::string text(size, '\0');
    std::iota(text.begin(), text.end(), '\0');
    return text;
}

// Runs fn(clock) on a clock that stands still.
template <class Fn>
void in_still_time(Fn fn) {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(options, fn, &clock);
}

}  // namespace

TEST_CASE("a graceful close delivers every byte, and tells that the peer has ended") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string text = numbered(3'000'000);
        Got got;
        std::error_code sent;
        Scope scope;
        scope.spawn(send_all, &pair.near, std::string_view(text), &sent);
        co_await passes(2);
        scope.spawn(read_all_then_close, &pair.far, &got);
        const bool ended = co_await pair.near.close_gracefully(10s);
        CHECK(ended);
        co_await scope.join();
        CHECK(!sent);
        CHECK(got.bytes == text);
        CHECK(got.end == Errc::eof);
        const bool again = co_await pair.near.close_gracefully(10s);
        CHECK(!again);
    });
}

TEST_CASE("what the peer has sent and nobody received does not cost it the tail") {
    in_runtime([]() -> Task<> {
        for (const std::size_t unread : {std::size_t{11}, std::size_t{300'000}}) {
            auto pair = co_await connected();
            const std::string question(unread, 'q');
            std::error_code asked;
            Scope asking;
            asking.spawn(send_all, &pair.far, std::string_view(question), &asked);
            std::array<std::byte, 1> first{};
            (co_await pair.near.recv(first)).value();  // the rest is there, or on its way
            const std::string text = numbered(1'000'000);
            Got got;
            std::error_code sent;
            Scope scope;
            scope.spawn(send_all, &pair.near, std::string_view(text), &sent);
            co_await passes(2);
            scope.spawn(read_all_then_close, &pair.far, &got);
            const bool ended = co_await pair.near.close_gracefully(10s);
            CHECK(ended);
            co_await scope.join();
            co_await asking.join();
            CHECK(!sent);
            CHECK(!asked);
            CHECK(got.bytes == text);
            CHECK(got.end == Errc::eof);
        }
    });
}

TEST_CASE("a graceful close reads from a peer that has to send before it can receive") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string text = numbered(20'000'000);
        Got got;
        std::error_code sent;
        Scope scope;
        scope.spawn(send_all, &pair.near, std::string_view(text), &sent);
        scope.spawn(
            [](Link* link, std::string_view flood, Got* reply) -> Task<> {
                CHECK((co_await link->send(flood)).value() == flood.size());
                co_await read_all_then_close(link, reply);
            },
            &pair.far, std::string_view(text), &got);
        co_await passes(20);
        const bool ended = co_await pair.near.close_gracefully(20s);
        CHECK(ended);
        co_await scope.join();
        CHECK(got.bytes == text);
    });
}

TEST_CASE("a graceful close ends a receive that waits") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Got got;
        Got far_got;
        Scope scope;
        scope.spawn(read_all, &pair.near, &got);
        scope.spawn(read_all_then_close, &pair.far, &far_got);
        co_await passes(3);
        const bool ended = co_await pair.near.close_gracefully(10s);
        CHECK(ended);
        co_await scope.join();
        CHECK(got.end == Errc::closed);
    });
}

TEST_CASE("a peer that does not end in time still gets what was sent, and no reset") {
    in_still_time([](ManualClock* time) -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("the tail")).value();
        int ended = -1;
        Scope scope;
        scope.spawn(close_gracefully, &pair.near, 5s, &ended);
        co_await passes(5);
        time->advance(4999ms);
        co_await passes(5);
        CHECK(ended == -1);
        time->advance(1ms);
        co_await scope.join();
        CHECK(ended == 0);
        Got got;
        co_await read_all(&pair.far, &got);
        CHECK(got.bytes == "the tail");
        CHECK(got.end == Errc::eof);
    });
}

TEST_CASE("a peer that takes nothing is reset when the time of a graceful close is over") {
    in_still_time([](ManualClock* time) -> Task<> {
        auto pair = co_await connected();
        const std::string text = numbered(40'000'000);
        std::error_code sent;
        int ended = -1;
        Scope scope;
        scope.spawn(send_all, &pair.near, std::string_view(text), &sent);
        co_await passes(20);
        scope.spawn(close_gracefully, &pair.near, 5s, &ended);
        co_await passes(20);
        CHECK(ended == -1);
        time->advance(5s);
        co_await scope.join();
        CHECK(ended == 0);
        CHECK(sent == Errc::closed);
        Got got;
        co_await read_all(&pair.far, &got);
        CHECK(got.bytes.size() < text.size());
        CHECK(got.end == std::errc::connection_reset);
    });
}

TEST_CASE("a peer that resets makes a graceful close fail") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        int ended = -1;
        Scope scope;
        scope.spawn(close_gracefully, &pair.near, 10s, &ended);
        co_await passes(5);
        pair.far.abort();
        co_await scope.join();
        CHECK(ended == 0);
    });
}

TEST_CASE("an idle Link ends, in good order, when its time is over: not before, and not while it hears") {
    in_still_time([](ManualClock* time) -> Task<> {
        auto pair = co_await connected();
        pair.near.close_when_idle(10s);
        Got got;
        Got far_got;
        Scope scope;
        scope.spawn(read_all, &pair.near, &got);
        scope.spawn(read_all_then_close, &pair.far, &far_got);
        for (int round = 0; round < 5; ++round) {
            co_await passes(5);
            time->advance(9999ms);
            co_await passes(5);
            CHECK(!got.end);
            (co_await pair.far.send("x")).value();
            while (got.bytes.size() <= static_cast<std::size_t>(round)) co_await yield();
        }
        time->advance(9999ms);
        co_await passes(5);
        CHECK(!got.end);
        time->advance(1ms);
        co_await scope.join();
        CHECK(got.end == Errc::timed_out);
        CHECK(far_got.end == Errc::eof);
        const auto closed = co_await pair.near.send("late");
        CHECK(closed.error() == Errc::closed);
    });
}

TEST_CASE("a Link that only sends is idle, unless sending counts") {
    in_still_time([](ManualClock* time) -> Task<> {
        for (const bool sending_counts : {false, true}) {
            auto pair = co_await connected();
            pair.near.close_when_idle(
                10s, sending_counts ? IdleMeans::nothing_received_or_sent : IdleMeans::nothing_received);
            co_await passes(3);
            for (int round = 0; round < 3; ++round) {
                time->advance(4s);
                co_await passes(5);
                const auto sent = co_await pair.near.send("news");
                CHECK(static_cast<bool>(sent) == (sending_counts || round < 2));
                co_await passes(5);
            }
            if (sending_counts) {
                time->advance(10s);
                co_await passes(5);
                const auto sent = co_await pair.near.send("news");
                CHECK(sent.error() == Errc::closed);
            }
        }
    });
}

TEST_CASE("an idle Link whose handler is busy with sending ends too, within three times five seconds") {
    in_still_time([](ManualClock* time) -> Task<> {
        auto pair = co_await connected();
        const std::string text = numbered(40'000'000);
        std::error_code sent;
        pair.near.close_when_idle(10s);
        Scope scope;
        scope.spawn(send_all, &pair.near, std::string_view(text), &sent);
        co_await passes(20);
        time->advance(10s);
        for (int looks = 0; looks < 3; ++looks) {
            co_await passes(20);
            time->advance(5s);
        }
        co_await scope.join();
        CHECK(sent == Errc::closed);
    });
}

TEST_CASE("the latest limit on being idle counts, and it can be taken back") {
    in_still_time([](ManualClock* time) -> Task<> {
        auto pair = co_await connected();
        Got got;
        Scope scope;
        scope.spawn(read_all, &pair.near, &got);
        pair.near.close_when_idle(1s);
        pair.near.close_when_idle(20s);
        co_await passes(3);
        time->advance(10s);
        co_await passes(3);
        CHECK(!got.end);
        pair.near.close_when_idle(2s);
        co_await passes(3);
        time->advance(1s);
        co_await passes(3);
        pair.near.close_when_idle(Duration::max());
        time->advance(std::chrono::hours(1000));
        co_await passes(3);
        CHECK(!got.end);
        scope.cancel();
        co_await scope.join();
        CHECK(got.end == Errc::cancelled);
    });
}

TEST_CASE("a limit on being idle and that of a receive do not disturb each other") {
    in_still_time([](ManualClock* time) -> Task<> {
        auto pair = co_await connected();
        pair.near.close_when_idle(10s);
        std::error_code first;
        std::error_code second;
        Scope scope;
        scope.spawn(
            [](Link* link, std::error_code* one, std::error_code* two) -> Task<> {
                *one = (co_await link->recv().within(4s)).error();
                *two = (co_await link->recv().within(100s)).error();
            },
            &pair.near, &first, &second);
        co_await passes(5);
        time->advance(4s);
        co_await passes(5);
        CHECK(first == Errc::timed_out);
        time->advance(5999ms);
        co_await passes(5);
        CHECK(!second);
        time->advance(1ms);
        co_await scope.join();
        CHECK(second == Errc::timed_out);
        const auto after = co_await pair.near.recv();
        CHECK(after.error() == Errc::closed);
    });
}

TEST_CASE("a Link is reset after the time it was given, whatever it does, and unless it has ended") {
    in_still_time([](ManualClock* time) -> Task<> {
        auto pair = co_await connected();
        pair.near.force_close_after(1s);
        pair.near.force_close_after(3500ms);
        (co_await pair.near.shutdown_write()).value();
        Got got;
        Scope scope;
        scope.spawn(read_all, &pair.near, &got);
        co_await passes(3);
        time->advance(3499ms);
        co_await passes(3);
        CHECK(!got.end);
        time->advance(1ms);
        co_await scope.join();
        CHECK(got.end == Errc::closed);
        Got far_got;
        co_await read_all(&pair.far, &far_got);
        CHECK(far_got.end == Errc::eof);  // it had the FIN before
        const auto refused = co_await pair.far.send("x");
        CHECK(!refused);
    });
    // Its end comes first: nothing is left of it, and nobody waits for the hour.
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        pair.near.force_close_after(1h);
        pair.near.close_when_idle(1h);
        co_await pair.near.close();
        pair.far.force_close_after(1h);
        pair.far = Link();
    });
}

TEST_CASE("limits of a Link may be set on another worker than its home") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        co_await resume_on(0);
        auto pair = co_await connected();
        Scope scope;
        scope.spawn_on(
            1,
            [](Link* link) -> Task<> {
                link->close_when_idle(1h);
                link->force_close_after(1ms);
                co_return;
            },
            &pair.near);
        Got got;
        co_await read_all(&pair.near, &got);
        CHECK(got.end == Errc::closed);
        co_await scope.join();
        Scope elsewhere;
        int ended = -1;
        auto second = co_await connected();
        elsewhere.spawn_on(1, close_gracefully, &second.near, 10s, &ended);
        Got far_got;
        co_await read_all_then_close(&second.far, &far_got);
        co_await elsewhere.join();
        CHECK(ended == 1);
    });
}
