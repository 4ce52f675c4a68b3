// SPDX-License-Identifier: BSL-1.0
// ByteReader and ByteWriter: numbers as they lie in memory, and what happens at the end of it.
#include <chainring/byte_reader.hpp>
#include <chainring/byte_writer.hpp>

#include <array>
#include <cstdint>
#include <cstring>
#include <doctest/doctest.h>
#include <limits>

using namespace chainring;

TEST_CASE("integers of every size are written big-endian and read back") {
    std::array<std::byte, 15> memory{};
    ByteWriter writer(memory);
    writer.write_be(std::int8_t{-1});
    writer.write_be(std::uint16_t{0x0102});
    writer.write_be(std::int32_t{-2});
    writer.write_be(std::uint64_t{0x0102030405060708});
    CHECK(writer.ok());
    CHECK(writer.room() == 0);
    CHECK(as_text(writer.written()) ==
          std::string_view("\xff\x01\x02\xff\xff\xff\xfe\x01\x02\x03\x04\x05\x06\x07\x08", 15));

    ByteReader reader(memory);
    ByteReader peek = reader;
    CHECK(peek.read_be<std::uint8_t>() == 0xff);
    CHECK(reader.read_be<std::int8_t>() == -1);
    CHECK(reader.read_be<std::uint16_t>() == 0x0102);
    CHECK(reader.read_be<std::int32_t>() == -2);
    CHECK(reader.read_be<std::uint64_t>() == 0x0102030405060708);
    CHECK(reader.ok());
    CHECK(reader.size() == 0);
}

TEST_CASE("little-endian and native integers are written and read back") {
    std::array<std::byte, 6> memory{};
    ByteWriter writer(memory);
    writer.write_le(std::uint16_t{0x0102});
    const std::uint32_t native = 0x01020304;
    writer.write_native(native);
    CHECK(as_text(writer.written().first(2)) == "\x02\x01");
    CHECK(std::memcmp(memory.data() + 2, &native, 4) == 0);
    ByteReader reader(memory);
    CHECK(reader.read_le<std::uint16_t>() == 0x0102);
    CHECK(reader.read_native<std::uint32_t>() == native);
}

TEST_CASE("a read past the end yields nothing, takes nothing and is remembered") {
    ByteReader reader(as_bytes("abc"));
    CHECK(reader.read_be<std::uint32_t>() == 0);
    CHECK(!reader.ok());
    CHECK(reader.size() == 3);
    CHECK(reader.read(1).empty());
    CHECK(reader.read_until("b").empty());

    ByteReader bytes(as_bytes("abc"));
    CHECK(as_text(bytes.read(2)) == "ab");
    CHECK(bytes.read(std::numeric_limits<std::size_t>::max()).empty());
    CHECK(!bytes.ok());
    CHECK(as_text(bytes.rest()) == "c");
}

TEST_CASE("a reader finds line ends") {
    ByteReader reader(as_bytes("first\r\n\r\nlast"));
    CHECK(reader.read_until("\r\n") == "first");
    CHECK(reader.read_until("\r\n") == "");
    CHECK(reader.ok());
    CHECK(reader.read_until("\r\n") == "");
    CHECK(!reader.ok());
    CHECK(as_text(reader.rest()) == "last");
}

TEST_CASE("a write past the end writes nothing and is remembered") {
    std::array<std::byte, 3> memory{};
    ByteWriter writer(memory);
    writer.write("ab");
    writer.write_be(std::uint32_t{1});
    CHECK(!writer.ok());
    writer.write("c");
    CHECK(as_text(writer.written()) == "ab");
    ByteWriter none({});
    none.write("");
    CHECK(none.ok());
    none.write_be(std::uint8_t{1});
    CHECK(!none.ok());
}
