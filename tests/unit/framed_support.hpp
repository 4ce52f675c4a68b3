// SPDX-License-Identifier: BSL-1.0
// What the tests of Framed share: how integers and frames are written, and what a Framed yields until its stream ends.
#pragma once

#include "tests/unit/support.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

namespace support {

inline std::string be32(std::uint32_t value) {
    std::array<std::byte, 4> memory{};
    ByteWriter(memory).write_be(value);
    return std::string(as_text(memory));
}

inline std::string native32(std::uint32_t value) {
    std::array<std::byte, 4> memory{};
    ByteWriter(memory).write_native(value);
    return std::string(as_text(memory));
}

inline std::string length_prefixed(std::string_view message) {
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

}  // namespace support
