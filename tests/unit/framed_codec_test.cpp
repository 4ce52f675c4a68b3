// SPDX-License-Identifier: BSL-1.0
// The codecs: their frames are found however the stream is cut, and what they refuse.
#include "tests/unit/framed_support.hpp"

#include <tagged_frame.hpp>

using namespace support;
using namespace std::string_literals;

namespace {

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
