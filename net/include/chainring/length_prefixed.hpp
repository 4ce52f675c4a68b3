// SPDX-License-Identifier: BSL-1.0
// LengthPrefixed: a codec whose frames are a length, four bytes, the most significant first, and as many bytes of
// message; the length does not count itself. An empty message is a frame.
//
// A length above the limit is Errc::message_too_large as soon as it has come; one with its highest bit set (negative,
// to those who read it as signed) is Errc::malformed_frame.
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

class LengthPrefixed {
public:
    static constexpr std::size_t max_header = 4;
    static constexpr std::size_t max_trailer = 0;

    // `max_message`: bytes of the largest message; at most 1 GiB less the header.
    explicit LengthPrefixed(std::size_t max_message = 64 * 1024) noexcept
        : max_message_(std::min(max_message, (std::size_t{1} << 30) - max_header)) {}

    std::size_t max_frame() const noexcept { return max_header + max_message_; }

    DecodeStep decode(std::span<const std::byte> input) noexcept {
        if (input.size() < max_header) return DecodeStep::more(max_header);
        const auto length = ByteReader(input).read_be<std::int32_t>();
        if (length < 0) return DecodeStep::error(Errc::malformed_frame);
        const auto size = static_cast<std::size_t>(length);
        if (size > max_message_) return DecodeStep::error(Errc::message_too_large);
        if (input.size() - max_header < size) return DecodeStep::more(max_header + size);
        return DecodeStep::frame(max_header, size, max_header + size);
    }

    Errc encode(std::span<const std::byte> message, ByteWriter& header, ByteWriter&) const noexcept {
        if (message.size() > max_message_) return Errc::message_too_large;
        header.write_be(static_cast<std::uint32_t>(message.size()));
        return {};
    }

private:
    std::size_t max_message_;
};

CHAINRING_END_NAMESPACE
