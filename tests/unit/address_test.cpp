// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <sys/socket.h>

using namespace chainring;

TEST_CASE("an address prints as it was written") {
    for (const char* text : {"127.0.0.1:7000", "0.0.0.0:0", "[::1]:7000", "[::]:65535", "[2001:db8::8]:80",
                             "unix:/run/app.sock", "unix:relative.sock", "unix:@abstract-name"}) {
        CAPTURE(text);
        const auto address = Address::parse(text);
        REQUIRE(address);
        CHECK(address->to_string() == text);
        CHECK(*address == *Address::parse(address->to_string()));
    }
}

TEST_CASE("short forms stand for wildcard and loopback") {
    CHECK(Address::parse(":7000")->to_string() == "[::]:7000");
    CHECK(Address::parse("localhost:7000")->to_string() == "127.0.0.1:7000");
}

TEST_CASE("an IPv6 scope is an interface name or a number") {
    const auto by_name = Address::parse("[fe80::1%lo]:80");
    REQUIRE(by_name);
    CHECK(by_name->to_string() == "[fe80::1%lo]:80");
    CHECK(*Address::parse("[fe80::1%1]:80") == *by_name);
    CHECK(!Address::parse("[fe80::1%no-such-interface]:80"));
}

TEST_CASE("malformed addresses are refused") {
    for (const char* text : {"",
                             ":",
                             "7000",
                             "localhost",
                             "127.0.0.1",
                             "127.0.0.1:",
                             "127.0.0.1:65536",
                             "127.0.0.1:-1",
                             "127.0.0.1:+1",
                             "127.0.0.1: 80",
                             "127.0.0.1:80 ",
                             "256.0.0.1:80",
                             "1.2.3:80",
                             "::1:80",
                             "[::1:80",
                             "[::1]",
                             "[]:80",
                             "[::1%]:80",
                             "name.example:80",
                             "unix:",
                             "unix:@",
                             "999999999999:1"}) {
        CAPTURE(text);
        CHECK(!Address::parse(text));
    }
    CHECK(Address::parse("nonsense").error() == Errc::invalid_address);
}

TEST_CASE("a unix path has at most 107 bytes") {
    CHECK(Address::parse("unix:" + std::string(107, 'p')));
    CHECK(Address::parse("unix:" + std::string(108, 'p')).error() == Errc::too_long);
}

TEST_CASE("the port can be read and set") {
    auto address = *Address::parse("127.0.0.1:80");
    CHECK(address.port() == 80);
    CHECK(address.family() == AF_INET);
    address.set_port(8080);
    CHECK(address.to_string() == "127.0.0.1:8080");
    CHECK(Address().to_string() == "none");
    CHECK(Address().family() == 0);
}
