// SPDX-License-Identifier: BSL-1.0
// How a receive of a Framed may end before its message has come, and that nothing is lost by it.
#include "tests/unit/framed_support.hpp"

using namespace support;

TEST_CASE("a receive that a limit or a cancel ends in the middle of a message loses nothing") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> framed(pair.far);
        const std::string stream = length_prefixed("in the middle") + length_prefixed("next");
        StopSource stop;
        for (std::size_t at = 0; at < stream.size(); ++at) {
            (co_await pair.near.send(std::string_view(stream).substr(at, 1))).value();
            co_await passes(2);
            if (at == 16) {
                auto whole = co_await framed.recv().within(5s);
                CHECK(whole->text() == "in the middle");
                continue;
            }
            if (at + 1 == stream.size()) break;
            std::error_code why;
            if (at % 3 == 0) {
                why = (co_await framed.recv().until(now() - 1s)).error();
                CHECK(why == Errc::timed_out);
            } else if (at % 3 == 1) {
                Scope scope;
                scope.spawn([](Framed<LengthPrefixed>* from,
                               std::error_code* error) -> Task<> { *error = (co_await from->recv()).error(); },
                            &framed, &why);
                co_await passes(1);
                scope.cancel();
                co_await scope.join();
                CHECK(why == Errc::cancelled);
            } else {
                stop.request_stop();
                why = (co_await framed.recv().stop_on(stop.token())).error();
                CHECK(why == Errc::cancelled);
            }
        }
        auto last = co_await framed.recv().within(5s);
        CHECK(last->text() == "next");
    });
}

TEST_CASE("messages that race with limits are neither lost nor repeated") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        constexpr unsigned total = 5000;
        Framed<LengthPrefixed> near(pair.near);
        Framed<LengthPrefixed> far(pair.far);
        Scope scope;
        scope.spawn(
            [](Framed<LengthPrefixed>* to, Link* link) -> Task<> {
                for (unsigned number = 0; number < total; ++number) {
                    const std::string message = be32(number) + std::string(number % 700, 'm');
                    (co_await to->send(message)).value();
                    if (number % 7 == 0) co_await yield();
                }
                (co_await link->shutdown_write()).value();
            },
            &near, &pair.near);
        unsigned next = 0;
        unsigned limits = 0;
        unsigned wrong = 0;
        for (;;) {
            auto message = co_await far.recv().within(std::chrono::microseconds(limits % 40));
            if (message) {
                ByteReader reader(message->bytes());
                if (reader.read_be<std::uint32_t>() != next || reader.size() != next % 700) ++wrong;
                ++next;
            } else if (message.error() == Errc::timed_out) {
                ++limits;
            } else {
                CHECK(message.error() == Errc::eof);
                break;
            }
        }
        CHECK(next == total);
        CHECK(wrong == 0);
        co_await scope.join();
    });
}

TEST_CASE("a large length that is claimed but not sent costs little memory, and no receive buffer") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> framed(pair.far, LengthPrefixed(1 << 30));
        const std::string begun = be32((1U << 30) - 4) + std::string(3000, 'x');
        (co_await pair.near.send(begun)).value();
        auto late = co_await framed.recv().within(20ms);
        CHECK(late.error() == Errc::timed_out);
        CHECK(metrics().buffers_lent == 0);
        const Chunk held = framed.take_rest();
        CHECK(held.to_string() == begun);
    });
}

TEST_CASE("while the runtime drains, a message that has begun is received whole, and a new one is not waited for") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> framed(pair.far);
        const std::string stream = length_prefixed("whole");
        (co_await pair.near.send(std::string_view(stream).substr(0, 6))).value();
        auto late = co_await framed.recv().within(5ms);
        CHECK(late.error() == Errc::timed_out);
        Runtime::current().request_stop();
        co_await passes(3);
        Scope scope;
        scope.spawn(
            [](Link* link, std::string_view rest) -> Task<> {
                co_await passes(3);
                (co_await link->send(rest)).value();
            },
            &pair.near, std::string_view(stream).substr(6));
        auto whole = co_await framed.recv();
        CHECK(whole->text() == "whole");
        auto none = co_await framed.recv();
        CHECK(none.error() == Errc::shutting_down);
        co_await scope.join();
    });
}
