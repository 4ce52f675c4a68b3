// SPDX-License-Identifier: BSL-1.0
// FrameCodec: what Framed<Codec> asks of a codec, a class that says where a message begins and ends in a stream of
// bytes. LengthPrefixed, Lines and TcpMotorFrame are three; docs/framing.md has a fourth, as users write theirs.
//
//     struct Codec {
//         static constexpr std::size_t max_header = 4, max_trailer = 0;  // bytes around a message, at most
//         std::size_t max_frame() const noexcept;
//         DecodeStep decode(std::span<const std::byte> input) noexcept;
//         Errc encode(std::span<const std::byte> message, ByteWriter& header, ByteWriter& trailer) const noexcept;
//     };
//
// max_frame: the bytes of the largest frame, header and trailer counted; at most 1 GiB. Framed never gathers more: a
// frame that would need more is Errc::message_too_large, whether or not the codec itself looks.
//
// decode: `input` is the stream from the beginning of a frame on: at least one byte, at most max_frame(), how much of
// it is chance. While it answers `more`, the next call begins at the same byte of the stream and has at least as many
// bytes, so that a codec may remember how far it has looked. After a frame the next call begins behind it; after an
// error there is none. The answer must not depend on how the stream was cut. It may run on the Link's home worker
// while the receiving task waits there: it does not block, and uses what is the codec's own.
//
// encode: writes what goes in front of the message and what goes behind it. Yields Errc() when it could, or why the
// message cannot be sent. Senders on several workers may call it at once, also while decode runs: it reads only what
// decode does not change.
#pragma once

#include <chainring/byte_writer.hpp>
#include <chainring/config.hpp>
#include <chainring/errc.hpp>

#include <concepts>
#include <cstddef>
#include <span>
#include <system_error>
#include <type_traits>

CHAINRING_BEGIN_NAMESPACE

// What decode found at the beginning of its input.
class DecodeStep {
public:
    // A part of a frame, which has at least `total` bytes. Framed asks again when there are as many; one more than the
    // input had, if `total` is not above that.
    static DecodeStep more(std::size_t total = 0) noexcept {
        DecodeStep step(Kind::more);
        step.size_ = total;
        return step;
    }
    // A whole frame of `consumed` bytes (at least one), of which the message is `size` bytes from `begin` on. Not fewer
    // bytes than an earlier `more` for this frame named.
    static DecodeStep frame(std::size_t begin, std::size_t size, std::size_t consumed) noexcept {
        DecodeStep step(Kind::frame);
        step.begin_ = begin;
        step.size_ = size;
        step.consumed_ = consumed;
        return step;
    }
    // No frame. The receive yields `error`, of any category, and so does every later one.
    static DecodeStep error(std::error_code error) noexcept {
        DecodeStep step(Kind::error);
        step.error_ = error.value();
        step.category_ = &error.category();
        return step;
    }

    enum class Kind : unsigned char { more, frame, error };
    Kind kind() const noexcept { return kind_; }
    std::size_t total() const noexcept { return size_; }  // of `more`
    std::size_t begin() const noexcept { return begin_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t consumed() const noexcept { return consumed_; }
    std::error_code reason() const noexcept {  // of `error`
        return category_ ? std::error_code(error_, *category_) : std::error_code();
    }

private:
    explicit DecodeStep(Kind kind) noexcept : kind_(kind) {}
    Kind kind_;
    int error_ = 0;  // a std::error_code in two: to make an empty one costs a call
    const std::error_category* category_ = nullptr;
    std::size_t begin_ = 0;
    std::size_t size_ = 0;
    std::size_t consumed_ = 0;
};

template <class Codec>
concept FrameCodec = std::is_nothrow_move_constructible_v<Codec> &&
    requires(Codec codec, const Codec shared, std::span<const std::byte> bytes, ByteWriter writer) {
    typename std::integral_constant<std::size_t, Codec::max_header>;
    typename std::integral_constant<std::size_t, Codec::max_trailer>;
    { shared.max_frame() }
    noexcept->std::same_as<std::size_t>;
    { codec.decode(bytes) }
    noexcept->std::same_as<DecodeStep>;
    { shared.encode(bytes, writer, writer) }
    noexcept->std::same_as<Errc>;
};

CHAINRING_END_NAMESPACE
