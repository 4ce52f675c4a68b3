// SPDX-License-Identifier: BSL-1.0
// ByteWriter: puts numbers and bytes one behind the other into memory that the caller lends, and never past its end. A
// write that does not fit writes nothing and makes ok() false for good: test once, at the end.
//
//     std::array<std::byte, 64> memory;
//     ByteWriter writer(memory);
//     writer.write_be(std::uint64_t{id});
//     writer.write_be(static_cast<std::uint8_t>(name.size()));
//     writer.write(name);
//     if (writer.ok()) co_await framed.send(writer.written());
//
// One thread at a time.
#pragma once

#include <chainring/byte_reader.hpp>
#include <chainring/chunk.hpp>
#include <chainring/config.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

CHAINRING_BEGIN_NAMESPACE

class ByteWriter {
public:
    explicit ByteWriter(std::span<std::byte> into) noexcept : into_(into) {}

    template <ByteInteger T>
    void write_be(T value) noexcept {  // the most significant byte first
        store<std::endian::big>(value);
    }
    template <ByteInteger T>
    void write_le(T value) noexcept {  // the least significant byte first
        store<std::endian::little>(value);
    }
    template <ByteInteger T>
    void write_native(T value) noexcept {  // as this machine has it in memory
        store<std::endian::native>(value);
    }
    void write(std::span<const std::byte> bytes) noexcept {
        if (!has(bytes.size())) return;
        std::copy(bytes.begin(), bytes.end(), into_.begin() + static_cast<std::ptrdiff_t>(size_));
        size_ += bytes.size();
    }
    void write(std::string_view text) noexcept { write(as_bytes(text)); }

    std::span<const std::byte> written() const noexcept { return into_.first(size_); }
    std::size_t size() const noexcept { return size_; }  // bytes written
    std::size_t room() const noexcept { return into_.size() - size_; }
    bool ok() const noexcept { return ok_; }  // every write found room

private:
    bool has(std::size_t size) noexcept {
        if (size > room()) ok_ = false;
        return ok_;
    }
    template <std::endian order, class T>
    void store(T value) noexcept {
        if (!has(sizeof(T))) return;
        auto bits = static_cast<std::make_unsigned_t<T>>(value);
        if (order != std::endian::native) bits = detail::reversed(bits);
        std::memcpy(into_.data() + size_, &bits, sizeof(T));
        size_ += sizeof(T);
    }

    std::span<std::byte> into_;
    std::size_t size_ = 0;
    bool ok_ = true;
};

CHAINRING_END_NAMESPACE
