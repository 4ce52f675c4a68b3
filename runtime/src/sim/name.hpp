// SPDX-License-Identifier: BSL-1.0
// Names of a simulated network: addresses, and the way to and from the system's sockaddr. Any thread.
#pragma once

#include <chainring/config.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/socket.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

// An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2).
struct HostAddress {
    std::array<std::uint8_t, 16> bytes{};

    static HostAddress parse(std::string_view text);  // throws std::invalid_argument
    static HostAddress any(bool v4) noexcept;
    static HostAddress loopback(bool v4) noexcept;
    bool is_v4() const noexcept;
    bool is_any() const noexcept;
    bool is_loopback() const noexcept;  // 127.0.0.0/8 or ::1
    std::string to_string() const;
    bool operator==(const HostAddress&) const = default;
};

// What bind and connect are given.
struct Name {
    int family = AF_UNSPEC;  // AF_INET, AF_INET6, AF_UNIX
    HostAddress address;
    std::uint16_t port = 0;
    std::string path;  // AF_UNIX: abstract ones begin with a zero byte; empty: unnamed

    bool is_unix() const noexcept { return family == AF_UNIX; }
    bool is_abstract() const noexcept { return is_unix() && !path.empty() && path.front() == '\0'; }
    std::string to_string() const;
};

// 0, or the errno of an address that is none.
int read_name(const sockaddr* address, socklen_t size, Name& name);
// As getsockname(2) fills it in: at most `size` bytes, and `size` becomes what there would be.
void write_name(const Name& name, sockaddr_storage& into, socklen_t& size) noexcept;

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
