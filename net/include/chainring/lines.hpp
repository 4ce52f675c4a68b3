// SPDX-License-Identifier: BSL-1.0
// Lines: a codec whose messages are lines of text. A line ends with LF or CRLF, as the peer likes, and is received
// without that; a CR anywhere else is a part of it. Lines are sent with the ending that is chosen.
//
// A line longer than the limit is Errc::message_too_large, as soon as that many bytes have come. A message that would
// be taken for another one is not sent (Errc::malformed_frame): one with an LF in it or, where lines end with LF alone,
// with a CR at its end. What follows the last line ending when the stream ends is Errc::unexpected_eof;
// Framed::take_rest() has it.
#pragma once

#include <chainring/byte_writer.hpp>
#include <chainring/chunk.hpp>
#include <chainring/codec.hpp>
#include <chainring/config.hpp>
#include <chainring/errc.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

enum class LineEnding : std::uint8_t { crlf, lf };

class Lines {
public:
    static constexpr std::size_t max_header = 0;
    static constexpr std::size_t max_trailer = 2;

    // `max_line`: bytes of the longest line, without its ending; at most 1 GiB less that.
    explicit Lines(std::size_t max_line = 8192, LineEnding ending = LineEnding::crlf) noexcept
        : max_line_(std::min(max_line, (std::size_t{1} << 30) - max_trailer)), ending_(ending) {}

    std::size_t max_frame() const noexcept { return max_line_ + max_trailer; }

    DecodeStep decode(std::span<const std::byte> input) noexcept {
        const std::string_view text = as_text(input);
        const auto found = text.find('\n', searched_);
        if (found == text.npos) {
            searched_ = text.size();
            // The last byte that fits behind the longest line is a CR, before the LF that is still to come.
            const bool fits = text.size() <= max_line_ || (text.size() == max_line_ + 1 && text.back() == '\r');
            return fits ? DecodeStep::more() : DecodeStep::error(Errc::message_too_large);
        }
        searched_ = 0;
        const std::size_t size = found > 0 && text[found - 1] == '\r' ? found - 1 : found;
        if (size > max_line_) return DecodeStep::error(Errc::message_too_large);
        return DecodeStep::frame(0, size, found + 1);
    }

    Errc encode(std::span<const std::byte> message, ByteWriter&, ByteWriter& trailer) const noexcept {
        const std::string_view text = as_text(message);
        if (text.size() > max_line_) return Errc::message_too_large;
        if (text.find('\n') != text.npos) return Errc::malformed_frame;
        if (ending_ == LineEnding::lf && text.ends_with('\r')) return Errc::malformed_frame;
        trailer.write(ending_ == LineEnding::lf ? std::string_view("\n") : std::string_view("\r\n"));
        return {};
    }

private:
    std::size_t max_line_;
    std::size_t searched_ = 0;  // bytes of an unfinished line that have no LF among them
    LineEnding ending_;
};

CHAINRING_END_NAMESPACE
