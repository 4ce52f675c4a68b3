// SPDX-License-Identifier: BSL-1.0
// TcpMotorFrame: a codec for the frames of TcpMotor, whose peers share a byte order: a length, four bytes in the
// machine's own order, which counts itself, and length - 4 bytes of message.
//
// A length of 0 to 3 cannot count itself: Errc::malformed_frame. One above the limit is Errc::message_too_large. Both
// as soon as the length has come.
#pragma once

#include <chainring/byte_reader.hpp>
#include <chainring/byte_writer.hpp>
#include <chainring/codec.hpp>
#include <chainring/config.hpp>
#include <chainring/errc.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

CHAINRING_BEGIN_NAMESPACE

class TcpMotorFrame {
public:
    static constexpr std::size_t max_header = 4;
    static constexpr std::size_t max_trailer = 0;

    // `max_frame`: bytes of the largest frame, with its header; 4 to 1 GiB.
    explicit TcpMotorFrame(std::size_t max_frame = 8192) noexcept
        : max_frame_(std::clamp(max_frame, max_header, std::size_t{1} << 30)) {}

    std::size_t max_frame() const noexcept { return max_frame_; }

    DecodeStep decode(std::span<const std::byte> input) noexcept {
        if (input.size() < max_header) return DecodeStep::more(max_header);
        const std::size_t length = ByteReader(input).read_native<std::uint32_t>();
        if (length < max_header) return DecodeStep::error(Errc::malformed_frame);
        if (length > max_frame_) return DecodeStep::error(Errc::message_too_large);
        if (input.size() < length) return DecodeStep::more(length);
        return DecodeStep::frame(max_header, length - max_header, length);
    }

    Errc encode(std::span<const std::byte> message, ByteWriter& header, ByteWriter&) const noexcept {
        if (message.size() > max_frame_ - max_header) return Errc::message_too_large;
        header.write_native(static_cast<std::uint32_t>(max_header + message.size()));
        return {};
    }

private:
    std::size_t max_frame_;
};

CHAINRING_END_NAMESPACE
