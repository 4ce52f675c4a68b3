// SPDX-License-Identifier: BSL-1.0
// Errc: the errors that chainring itself reports. What the kernel reports travels unchanged as an errno value in
// std::system_category(); both arrive as std::error_code inside a Result.
#pragma once

#include <chainring/config.hpp>

#include <system_error>

CHAINRING_BEGIN_NAMESPACE

enum class Errc {
    eof = 1,          // the peer has ended its direction of the stream; everything before it was delivered
    cancelled,        // the task, or the scope that it belongs to, was cancelled
    timed_out,        // the time given with .within() or .until() has passed
    closed,           // the object was closed, aborted or never opened
    shutting_down,    // the runtime drains: no new work is begun
    invalid_address,  // the text is no address that Address::parse knows
    too_long,         // the delimiter did not come within the bound given to recv_until
    write_broken,     // an earlier send ended in the middle of its unit; nothing more can follow it
    overloaded,       // a bounded queue is full, and its options say not to wait
    not_supported,    // this backend or this kind of socket cannot do it

    // Of framed streams; see framed.hpp.
    message_too_large,  // a frame above its codec's limit: one that came, or one that was to be sent
    malformed_frame,    // the bytes are no frame of the codec, or the message cannot be put into one
    unexpected_eof,     // the stream ended inside a frame
};

const std::error_category& chainring_category() noexcept;

inline std::error_code make_error_code(Errc errc) noexcept {
    return {static_cast<int>(errc), chainring_category()};
}

namespace detail {

// A std::error_code of Errc's or the system's category in eight bytes, for what lives per connection.
class PackedError {
public:
    PackedError() noexcept = default;
    PackedError(std::error_code error) noexcept
        : value_(error.value()), ours_(error && error.category() == chainring_category()) {}
    PackedError(Errc errc) noexcept : value_(static_cast<int>(errc)), ours_(true) {}
    operator std::error_code() const noexcept {
        return {value_, ours_ ? chainring_category() : std::system_category()};
    }
    explicit operator bool() const noexcept { return value_ != 0; }

private:
    int value_ = 0;
    bool ours_ = false;
};

}  // namespace detail
CHAINRING_END_NAMESPACE

template <>
struct std::is_error_code_enum<chainring::Errc> : std::true_type {};
