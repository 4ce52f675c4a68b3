// SPDX-License-Identifier: BSL-1.0
// What holds for every codec and every stream:
// - However the stream is cut, Framed's FrameSource finds the same messages, the same error and leaves the same rest as
//   a plain loop that sees the stream whole. The codec is called as codec.hpp says.
// - A message that the codec encodes is decoded again, and nothing else.
#pragma once

#include <chainring/framed.hpp>

#include "runtime/src/buffer_pool.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace fuzz {

using namespace chainring;
using Bytes = std::span<const std::byte>;

inline void require(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "fuzz: %s\n", what);
    std::abort();
}

// What a stream holds.
struct Found {
    std::vector<std::string> messages;
    std::error_code error;
    std::string rest;  // behind the last message
    bool operator==(const Found&) const = default;
};

// The plain loop. The codec is made anew for each frame, so that nothing it remembers plays a part.
template <class Codec>
Found in_whole(const Codec& codec, Bytes stream) {
    Found found;
    while (!stream.empty() && !found.error) {
        const std::size_t max = codec.max_frame();
        const Bytes input = stream.first(std::min(stream.size(), max));
        const DecodeStep step = Codec(codec).decode(input);
        if (step.kind() == DecodeStep::Kind::frame) {
            found.messages.emplace_back(as_text(input.subspan(step.begin(), step.size())));
            stream = stream.subspan(step.consumed());
        } else if (step.kind() == DecodeStep::Kind::error) {
            found.error = step.reason();
        } else {
            if (std::max(step.total(), input.size() + 1) > max) found.error = make_error_code(Errc::message_too_large);
            break;
        }
    }
    found.rest = as_text(stream);
    return found;
}

// A codec that looks whether it is called as codec.hpp promises.
template <class Codec>
class Checked {
public:
    explicit Checked(Codec codec) noexcept : codec_(std::move(codec)) {}
    std::size_t max_frame() const noexcept { return codec_.max_frame(); }
    DecodeStep decode(Bytes input) noexcept {
        require(!input.empty() && input.size() <= max_frame(), "decode got no input, or more than max_frame()");
        require(as_text(input).starts_with(seen_), "decode got other bytes than before for the same frame");
        require(input.size() >= asked_, "decode was called before what it had asked for was there");
        const DecodeStep step = codec_.decode(input);
        const bool more = step.kind() == DecodeStep::Kind::more;
        seen_ = more ? as_text(input) : std::string_view();
        asked_ = more ? step.total() : 0;
        return step;
    }

private:
    Codec codec_;
    std::string seen_;
    std::size_t asked_ = 0;
};

// Sizes of the pieces that a stream is cut into: one of few ways, by `seed`, and whether more than one arrives at once.
class Cuts {
public:
    explicit Cuts(std::uint32_t seed) noexcept : state_(seed) {}
    std::size_t next_size() noexcept {
        switch (state_ % 4) {
            case 0:
                return 1;
            case 1:
                return 1 + draw() % 8;
            case 2:
                return 1 + draw() % 600;
            default:
                return draw() % 2 == 0 ? 1 + draw() % 3 : 1 + draw() % 4096;
        }
    }
    bool together() noexcept { return draw() % 3 == 0; }

private:
    std::uint32_t draw() noexcept {  // xorshift32, M. Marsaglia, 2003; the way of cutting (state_ % 4) is kept
        drawn_ ^= drawn_ << 13;
        drawn_ ^= drawn_ >> 17;
        drawn_ ^= drawn_ << 5;
        return drawn_;
    }
    std::uint32_t state_;
    std::uint32_t drawn_ = state_ * 2654435761U | 1;
};

template <class Codec>
Found in_pieces(const Codec& codec, Bytes stream, Cuts cuts) {
    Found found;
    detail::CodecSource<Checked<Codec>> source(nullptr, Checked<Codec>(codec));
    const auto look = [&] {
        while (!found.error && source.next()) {
            found.error = source.error();
            if (!found.error) found.messages.push_back(source.message().to_string());
        }
    };
    while (!stream.empty()) {
        const std::size_t size = std::min(cuts.next_size(), stream.size());
        source.feed(detail::Segment::copy_of(stream.first(size)));
        stream = stream.subspan(size);
        if (!cuts.together()) look();
    }
    look();
    found.rest = source.take_rest().to_string();
    return found;
}

template <class Codec>
void check_decoding(const Codec& codec, Bytes stream, std::uint32_t seed) {
    const Found whole = in_whole(codec, stream);
    for (std::uint32_t way = 0; way < 4; ++way) {
        const Found pieces = in_pieces(codec, stream, Cuts((seed & ~3U) | way));
        require(pieces.messages == whole.messages, "the messages depend on how the stream is cut");
        require(pieces.error == whole.error, "the error depends on how the stream is cut");
        require(pieces.rest == whole.rest, "the rest depends on how the stream is cut");
    }
}

// `fits`: the codec has to be able to encode the message.
template <class Codec>
void check_encoding(const Codec& codec, Bytes message, bool fits) {
    const detail::Envelope<Codec::max_header, Codec::max_trailer> envelope(codec, message);
    require(envelope.refused() == !fits, "a message is refused that fits, or is not that does not");
    if (!fits) return;
    std::string wire;
    for (const IoSlice& piece : envelope.pieces()) wire += as_text(piece.bytes);
    const Found found = in_whole(codec, as_bytes(wire + wire));
    require(!found.error && found.rest.empty(), "what was encoded is not decoded");
    require(found.messages == std::vector<std::string>(2, std::string(as_text(message))), "a message was altered");
}

// The first bytes of an input choose the limit and the cuts; the others are the stream.
class Input {
public:
    explicit Input(Bytes bytes) noexcept {
        ByteReader reader(bytes);
        choice_ = reader.read_be<std::uint8_t>();
        seed_ = reader.read_be<std::uint16_t>();
        stream_ = reader.rest();
    }
    // A limit in bytes, mostly small, so that it is reached.
    std::size_t limit() const noexcept { return std::array<std::size_t, 4>{64 * 1024, 0, 20, 300}[choice_ % 4]; }
    bool flag() const noexcept { return (choice_ & 4) != 0; }
    std::uint32_t seed() const noexcept { return seed_; }
    Bytes stream() const noexcept { return stream_; }
    // The stream, taken for a message; and what of it is as long as the limit, and a byte longer.
    std::array<Bytes, 3> messages() const noexcept {
        return {stream_, stream_.first(std::min(stream_.size(), limit())),
                stream_.first(std::min(stream_.size(), limit() + 1))};
    }

private:
    std::uint8_t choice_;
    std::uint32_t seed_;
    Bytes stream_;
};

}  // namespace fuzz
