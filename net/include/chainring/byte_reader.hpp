// SPDX-License-Identifier: BSL-1.0
// ByteReader: takes numbers and bytes off the front of a span, and never looks past its end. A read that asks for more
// than there is yields zero (or an empty span), takes nothing, and makes ok() false for good, so that a message is
// parsed in a straight line and tested once:
//
//     ByteReader reader(bytes);
//     const auto id = reader.read_be<std::uint64_t>();
//     const auto name = reader.read(reader.read_be<std::uint8_t>());
//     if (!reader.ok()) return Errc::malformed_frame;
//
// A value: to peek, read from a copy. It refers to the bytes, which must stay. One thread at a time.
#pragma once

#include <chainring/chunk.hpp>
#include <chainring/config.hpp>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

CHAINRING_BEGIN_NAMESPACE

// What ByteReader reads and ByteWriter writes: integers of 8 to 64 bits, signed (two's complement) or not.
template <class T>
concept ByteInteger = std::integral<T> && sizeof(T) <= 8 && !std::same_as<std::remove_cv_t<T>, bool>;

namespace detail {

// The bytes of an unsigned integer in the other order (std::byteswap of C++23).
template <class T>
T reversed(T value) noexcept {
    if constexpr (sizeof(T) == 8)
        return __builtin_bswap64(value);
    else if constexpr (sizeof(T) == 4)
        return __builtin_bswap32(value);
    else if constexpr (sizeof(T) == 2)
        return __builtin_bswap16(value);
    else
        return value;
}

}  // namespace detail

class ByteReader {
public:
    explicit ByteReader(std::span<const std::byte> bytes) noexcept : rest_(bytes) {}

    template <ByteInteger T>
    T read_be() noexcept {  // the most significant byte first
        return load<T, std::endian::big>();
    }
    template <ByteInteger T>
    T read_le() noexcept {  // the least significant byte first
        return load<T, std::endian::little>();
    }
    template <ByteInteger T>
    T read_native() noexcept {  // as this machine has it in memory
        return load<T, std::endian::native>();
    }

    // The next `size` bytes.
    std::span<const std::byte> read(std::size_t size) noexcept {
        if (!has(size)) return {};
        const auto bytes = rest_.first(size);
        rest_ = rest_.subspan(size);
        return bytes;
    }
    // What is before the next `delimiter` (not empty), and steps over it.
    std::string_view read_until(std::string_view delimiter) noexcept {
        const std::string_view text = as_text(rest_);
        const auto at = text.find(delimiter);
        if (!ok_ || at == text.npos) {
            ok_ = false;
            return {};
        }
        rest_ = rest_.subspan(at + delimiter.size());
        return text.substr(0, at);
    }

    std::span<const std::byte> rest() const noexcept { return rest_; }
    std::size_t size() const noexcept { return rest_.size(); }
    bool ok() const noexcept { return ok_; }  // every read found what it asked for

private:
    bool has(std::size_t size) noexcept {
        if (size > rest_.size()) ok_ = false;
        return ok_;
    }
    template <class T, std::endian order>
    T load() noexcept {
        if (!has(sizeof(T))) return 0;
        std::make_unsigned_t<T> value;
        std::memcpy(&value, rest_.data(), sizeof(T));
        rest_ = rest_.subspan(sizeof(T));
        return static_cast<T>(order == std::endian::native ? value : detail::reversed(value));
    }

    std::span<const std::byte> rest_;
    bool ok_ = true;
};

CHAINRING_END_NAMESPACE
