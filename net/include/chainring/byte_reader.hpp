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
#include <span>
#include <string_view>
#include <type_traits>

CHAINRING_BEGIN_NAMESPACE

// What ByteReader reads and ByteWriter writes: integers of 8 to 64 bits, signed (two's complement) or not.
template <class T>
concept ByteInteger = std::integral<T> && !std::same_as<std::remove_cv_t<T>, bool>;

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
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i)
            value =
                value << 8 | std::to_integer<std::uint64_t>(rest_[order == std::endian::big ? i : sizeof(T) - 1 - i]);
        rest_ = rest_.subspan(sizeof(T));
        return static_cast<T>(value);
    }

    std::span<const std::byte> rest_;
    bool ok_ = true;
};

CHAINRING_END_NAMESPACE
