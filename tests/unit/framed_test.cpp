// SPDX-License-Identifier: BSL-1.0
// Framed: messages over a Link, with each codec, however the stream is cut and however a receive ends.
#include "tests/unit/support.hpp"

#include <algorithm>
#include <cstring>
#include <tagged_frame.hpp>
#include <vector>

using namespace support;
using namespace std::string_literals;
using namespace std::string_view_literals;

namespace {

std::string be32(std::uint32_t value) {
    std::array<std::byte, 4> memory{};
    ByteWriter(memory).write_be(value);
    return std::string(as_text(memory));
}

std::string native32(std::uint32_t value) {
    std::array<std::byte, 4> memory{};
    ByteWriter(memory).write_native(value);
    return std::string(as_text(memory));
}

std::string length_prefixed(std::string_view message) {
    return be32(static_cast<std::uint32_t>(message.size())).append(message);
}

// The messages of a stream, and what came behind the last of them.
struct Heard {
    Heard() noexcept = default;
    std::vector<std::string> messages;
    std::error_code end;
};

template <class Codec>
Task<> hear(Framed<Codec>* framed, Heard* heard) {
    for (;;) {
        auto message = co_await framed->recv();
        if (!message) {
            heard->end = message.error();
            co_return;
        }
        heard->messages.push_back(message->to_string());
    }
}

// Sends the pieces so that each arrives by itself, and ends the direction.
Task<> feed(Link* link, std::vector<std::string_view> pieces) {
    for (const std::string_view piece : pieces) {
        if (!piece.empty()) (co_await link->send(piece)).value();
        co_await passes(2);
    }
    (co_await link->shutdown_write()).value();
}

// What a Framed makes of `stream`, which arrives in two pieces, or byte by byte (cut = npos).
template <class Codec>
Task<Heard> heard_of(Codec codec, std::string_view stream, std::size_t cut) {
    auto pair = co_await connected();
    Framed<Codec> framed(pair.far, std::move(codec));
    std::vector<std::string_view> pieces;
    if (cut == stream.npos)
        for (std::size_t at = 0; at < stream.size(); ++at) pieces.push_back(stream.substr(at, 1));
    else {
        pieces.push_back(stream.substr(0, cut));
        pieces.push_back(stream.substr(cut));
    }
    Heard heard;
    Scope scope;
    scope.spawn(feed, &pair.near, std::move(pieces));
    scope.spawn(hear<Codec>, &framed, &heard);
    co_await scope.join();
    co_return heard;
}

// The same wherever the stream is cut: `messages`, then `end`.
template <class Codec>
void hears(Codec codec, const std::string& stream, const std::vector<std::string>& messages, Errc end) {
    in_runtime([&]() -> Task<> {
        std::size_t cut = 0;
        for (;;) {
            const Heard heard = co_await heard_of(codec, stream, cut);
            CAPTURE(cut);
            CHECK(heard.messages == messages);
            CHECK(heard.end == end);
            if (cut == stream.npos) break;
            cut = cut == stream.size() ? stream.npos : cut + 1;
        }
    });
}

// What the first receive yields when `stream` is all that the peer sends.
template <class Codec>
Task<std::string> first_of(Codec codec, std::string_view stream) {
    const Heard heard = co_await heard_of(codec, stream, 0);
    if (!heard.messages.empty()) co_return std::to_string(heard.messages[0].size());
    co_return heard.end.message();
}

std::string text_of(Errc errc) {
    return make_error_code(errc).message();
}

}  // namespace

TEST_CASE("length-prefixed frames are found wherever the stream is cut") {
    const std::string stream = length_prefixed("") + length_prefixed("a") + length_prefixed("some more");
    hears(LengthPrefixed(), stream, {"", "a", "some more"}, Errc::eof);
    hears(LengthPrefixed(), stream + length_prefixed("cut off").substr(0, 8), {"", "a", "some more"},
          Errc::unexpected_eof);
    hears(LengthPrefixed(), stream + "\0\0"s, {"", "a", "some more"}, Errc::unexpected_eof);
    hears(LengthPrefixed(8), stream, {"", "a"}, Errc::message_too_large);
}

TEST_CASE("TcpMotor's frames are found wherever the stream is cut") {
    const std::string stream = native32(4) + native32(5) + "a" + native32(13) + "some more";
    hears(TcpMotorFrame(), stream, {"", "a", "some more"}, Errc::eof);
    hears(TcpMotorFrame(), stream + native32(3) + "x", {"", "a", "some more"}, Errc::malformed_frame);
    hears(TcpMotorFrame(), stream + native32(6) + "x", {"", "a", "some more"}, Errc::unexpected_eof);
}

TEST_CASE("lines are found wherever the stream is cut") {
    hears(Lines(), "one\r\n\n\r\ntwo\nthr\ree\r\r\n", {"one", "", "", "two", "thr\ree\r"}, Errc::eof);
    hears(Lines(), "one\nno end\r", {"one"}, Errc::unexpected_eof);
    hears(Lines(4), "four\r\nfour\nfive5\r\n", {"four", "four"}, Errc::message_too_large);
    hears(Lines(4), "four\rX\n", {}, Errc::message_too_large);
}

TEST_CASE("the codec that docs/framing.md shows finds its frames wherever the stream is cut") {
    // The vector of muduo's RpcCodec_test: size, tag, payload, Adler-32.
    const std::string golden =
        "\0\0\0\x13"
        "RPC0"
        "\x08\x01\x11\x02\0\0\0\0\0\0\0\x0f\xef\x01\x32"s;
    const std::string payload = golden.substr(8, 11);
    hears(TaggedFrame("RPC0"), golden + golden, {payload, payload}, Errc::eof);
    for (std::size_t bit = 32; bit < golden.size() * 8; bit += 7) {
        std::string flipped = golden;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        in_runtime(
            [](std::string_view stream) -> Task<> {
                CHECK(co_await first_of(TaggedFrame("RPC0"), stream) == text_of(Errc::malformed_frame));
            },
            std::string_view(flipped));
    }
    in_runtime(
        [](std::string_view expected, std::string_view message) -> Task<> {
            auto pair = co_await connected();
            Framed<TaggedFrame> framed(pair.near, TaggedFrame("RPC0"));
            CHECK(*(co_await framed.send(message)) == expected.size());
            std::array<std::byte, 23> raw{};
            (co_await pair.far.recv_exact(raw)).value();
            CHECK(as_text(raw) == expected);
        },
        std::string_view(golden), std::string_view(payload));
}

TEST_CASE("a length at the limit is a message, and one above it an error as soon as it has come") {
    in_runtime([]() -> Task<> {
        const std::string body(65537, 'b');
        const auto framed = [&body](std::uint32_t length, std::size_t bytes) {
            return be32(length) + body.substr(0, bytes);
        };
        std::string stream = framed(65535, 65535);
        CHECK(co_await first_of(LengthPrefixed(), stream) == "65535");
        stream = framed(65536, 65536);
        CHECK(co_await first_of(LengthPrefixed(), stream) == "65536");
        stream = framed(65537, 0);
        CHECK(co_await first_of(LengthPrefixed(), stream) == text_of(Errc::message_too_large));
        stream = framed(0x7fff'ffff, 0);
        CHECK(co_await first_of(LengthPrefixed(), stream) == text_of(Errc::message_too_large));
        for (const std::uint32_t negative : {0x8000'0000, 0x8000'0004, 0xffff'ffff}) {
            stream = framed(negative, 4);
            CHECK(co_await first_of(LengthPrefixed(), stream) == text_of(Errc::malformed_frame));
        }
    });
}

TEST_CASE("a TcpMotor length that cannot count itself, or is above the limit, is an error") {
    in_runtime([]() -> Task<> {
        const std::string body(8192, 'b');
        std::string stream;
        for (const std::uint32_t length : {0U, 1U, 2U, 3U}) {
            stream = native32(length) + body;
            CHECK(co_await first_of(TcpMotorFrame(), stream) == text_of(Errc::malformed_frame));
        }
        for (const std::uint32_t length : {4U, 8191U, 8192U}) {
            stream = native32(length) + body.substr(0, length - 4);
            const std::string size = co_await first_of(TcpMotorFrame(), stream);
            CHECK(size == std::to_string(length - 4));
        }
        for (const std::uint32_t length : {8193U, 0x7fff'ffffU, 0xffff'ffffU}) {
            stream = native32(length);
            CHECK(co_await first_of(TcpMotorFrame(), stream) == text_of(Errc::message_too_large));
        }
    });
}

TEST_CASE("a line at the limit is a message, and a longer one an error as soon as it has come") {
    in_runtime([]() -> Task<> {
        const std::string line(8193, 'l');
        std::string stream = line.substr(0, 8191) + "\n";
        CHECK(co_await first_of(Lines(), stream) == "8191");
        stream = line.substr(0, 8192) + "\r\n";
        CHECK(co_await first_of(Lines(), stream) == "8192");
        CHECK(co_await first_of(Lines(), line) == text_of(Errc::message_too_large));
    });
}

TEST_CASE("after a bad frame every receive yields the same error") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> framed(pair.far);
        const std::string bad = length_prefixed("good") + be32(1 << 20) + length_prefixed("lost");
        (co_await pair.near.send(bad)).value();
        auto message = co_await framed.recv();
        CHECK(message->text() == "good");
        for (int again = 0; again < 3; ++again) {
            auto none = co_await framed.recv().within(5s);
            CHECK(none.error() == Errc::message_too_large);
        }
        Chunk rest = framed.take_rest();
        const std::string behind = be32(1 << 20) + length_prefixed("lost");
        if (misbehaves())  // as much as has come
            CHECK(behind.starts_with(rest.to_string()));
        else
            CHECK(rest.to_string() == behind);
    });
}

TEST_CASE("under serve, a handler that returns after a bad frame ends the connection in order") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Scope serving;
        serving.spawn(
            [](Listener* at) -> Task<> {
                co_await at->serve([](Link link) -> Task<> {
                    Framed<LengthPrefixed> framed(link);
                    while (auto message = co_await framed.recv()) (co_await framed.send(*message)).value();
                });
            },
            &listener);
        for (const std::uint32_t length : {65537U, 0xffff'ffffU}) {
            auto link = (co_await Link::connect(listener.address())).value();
            const std::string stream = length_prefixed("before") + be32(length) + std::string(50'000, 'x');
            (co_await link.send(stream)).value();
            Heard heard;
            Framed<LengthPrefixed> framed(link);
            co_await hear(&framed, &heard);
            CHECK(heard.messages == std::vector<std::string>(1, "before"));
            CHECK(heard.end == Errc::eof);  // not a reset
        }
        serving.cancel();
        co_await serving.join();
    });
}

TEST_CASE("a burst of messages is yielded without suspending" * not_misbehaving()) {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> near(pair.near);
        Framed<LengthPrefixed> far(pair.far);
        std::string burst;
        for (unsigned number = 0; number < 200; ++number) burst += length_prefixed(be32(number));
        (co_await pair.near.send(burst)).value();
        auto first = co_await far.recv();
        CHECK(first->text() == be32(0));
        const std::uint64_t before = metrics().passes;
        unsigned wrong = 0;
        for (unsigned number = 1; number < 200; ++number) {
            auto message = co_await far.recv();
            if (!message || message->text() != be32(number)) ++wrong;
        }
        CHECK(wrong == 0);
        CHECK(metrics().passes == before);
    });
}

TEST_CASE("messages of all sizes arrive whole, over many receive buffers") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        constexpr std::size_t max = 1'000'000;
        Framed<LengthPrefixed> near(pair.near, LengthPrefixed(max));
        Framed<LengthPrefixed> far(pair.far, LengthPrefixed(max));
        const std::vector<std::size_t> sizes({0, 1, 5, 100, 4092, 4096, 16379, 16380, 16381, 40'000, 3, 200'000, 65'536,
                                              999'999, max, 7, 12'000, 12'000});
        Scope scope;
        scope.spawn(
            [](Framed<LengthPrefixed>* to, const std::vector<std::size_t>* all) -> Task<> {
                for (std::size_t round = 0; round < 3; ++round)
                    for (const std::size_t size : *all) {
                        const std::string body(size, static_cast<char>('a' + size % 26));
                        const std::size_t sent = (co_await to->send(body)).value();
                        CHECK(sent == size + 4);
                    }
            },
            &near, &sizes);
        unsigned wrong = 0;
        for (std::size_t round = 0; round < 3; ++round)
            for (const std::size_t size : sizes) {
                auto message = co_await far.recv().within(20s);
                REQUIRE(message);
                const std::string body(size, static_cast<char>('a' + size % 26));
                if (message->text() != body) ++wrong;
            }
        CHECK(wrong == 0);
        co_await scope.join();
    });
}

TEST_CASE("a message above the limit is not sent, and the stream goes on") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> near(pair.near, LengthPrefixed(10));
        auto large = co_await near.send("eleven bytes"sv).within(1s);
        CHECK(large.error() == Errc::message_too_large);
        CHECK(*(co_await near.send("ten bytes!")) == 14);
        Framed<Lines> lines(pair.near, Lines(10, LineEnding::lf));
        auto two = co_await lines.send("a\nb");
        CHECK(two.error() == Errc::malformed_frame);
        auto altered = co_await lines.send("a\r");
        CHECK(altered.error() == Errc::malformed_frame);
        CHECK(*(co_await lines.send("line")) == 5);
        Framed<TcpMotorFrame> motor(pair.near, TcpMotorFrame(10));
        auto seven = co_await motor.send("seven b");
        CHECK(seven.error() == Errc::message_too_large);
        CHECK(*(co_await motor.send("six by")) == 10);
        std::array<std::byte, 29> raw{};
        (co_await pair.far.recv_exact(raw)).value();
        CHECK(as_text(raw) == length_prefixed("ten bytes!") + "line\n" + native32(10) + "six by");
    });
}

TEST_CASE("messages of several senders, framed and not, stay whole and in the order of the calls") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> near(pair.near);
        Framed<LengthPrefixed> far(pair.far);
        Scope scope;
        for (unsigned sender = 0; sender < 8; ++sender)
            scope.spawn(
                [](Framed<LengthPrefixed>* framed, Link* link, unsigned self) -> Task<> {
                    for (unsigned number = 0; number < 50; ++number) {
                        const std::string message = be32(self) + be32(number) + std::string(self * 997, 's');
                        if (self == 7)
                            (co_await link->send(length_prefixed(message))).value();
                        else
                            (co_await framed->send(message)).value();
                    }
                },
                &near, &pair.near, sender);
        std::array<unsigned, 8> expected{};
        unsigned wrong = 0;
        for (unsigned count = 0; count < 400; ++count) {
            auto message = co_await far.recv().within(20s);
            REQUIRE(message);
            ByteReader reader(message->bytes());
            const auto sender = reader.read_be<std::uint32_t>();
            REQUIRE(sender < 8);
            if (reader.read_be<std::uint32_t>() != expected[sender]++ || reader.size() != sender * 997) ++wrong;
        }
        CHECK(wrong == 0);
        co_await scope.join();
    });
}

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

TEST_CASE("what is behind the last message can be taken, and the Link goes on behind it") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("upgrade\r\nraw bytes")).value();
        Framed<Lines> framed(pair.far);
        auto line = co_await framed.recv();
        CHECK(line->text() == "upgrade");
        std::string rest = framed.take_rest().to_string();
        if (!misbehaves()) CHECK(rest.size() == 9);
        rest += co_await recv_text(&pair.far, 9 - rest.size());
        CHECK(rest == "raw bytes");
        auto none = co_await framed.recv();
        CHECK(none.error() == Errc::closed);
        (co_await pair.near.send("more")).value();
        CHECK(co_await recv_text(&pair.far, 4) == "more");
        Framed<Lines> again(pair.far);
        const Chunk nothing = again.take_rest();
        CHECK(nothing.empty());
    });
}

TEST_CASE("a Framed can be moved between receives, and so can its Link") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string stream = length_prefixed("one") + length_prefixed("two") + be32(5) + "th";
        (co_await pair.near.send(stream)).value();
        Framed<LengthPrefixed> framed(pair.far);
        auto one = co_await framed.recv();
        CHECK(one->text() == "one");
        Link elsewhere = std::move(pair.far);
        Framed<LengthPrefixed> moved = std::move(framed);
        auto two = co_await moved.recv();
        CHECK(two->text() == "two");
        auto late = co_await moved.recv().within(5ms);
        CHECK(late.error() == Errc::timed_out);
        Framed<LengthPrefixed> again = std::move(moved);
        (co_await pair.near.send("ree")).value();
        auto three = co_await again.recv();
        CHECK(three->text() == "three");
    });
}

TEST_CASE("a receive is used from another worker than the Link's home, a burst without going there again") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        auto pair = co_await connected();
        const unsigned other = 1 - pair.far.home();
        Scope scope;
        scope.spawn_on(
            other,
            [](Link* link) -> Task<> {
                Framed<LengthPrefixed> framed(*link);
                for (unsigned number = 0; number < 300; ++number) {
                    auto message = co_await framed.recv();
                    CHECK(message->text() == be32(number));
                    CHECK(Runtime::current_worker() != link->home());
                    (co_await framed.send(*message)).value();
                }
            },
            &pair.far);
        Framed<LengthPrefixed> near(pair.near);
        std::string burst;
        for (unsigned number = 0; number < 300; ++number) burst += length_prefixed(be32(number));
        (co_await pair.near.send(burst)).value();
        for (unsigned number = 0; number < 300; ++number) {
            auto back = co_await near.recv();
            CHECK(back->text() == be32(number));
        }
        co_await scope.join();
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
