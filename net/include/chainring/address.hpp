// SPDX-License-Identifier: BSL-1.0
// Address: where to listen or connect. A value type that any thread may copy.
//
// Text forms, parsed and printed alike:
//   127.0.0.1:7000          IPv4
//   [::1]:7000              IPv6; [fe80::1%eth0]:7000 with a scope, by interface name or number (RFC 6874's zone)
//   :7000                   every local address: the IPv6 wildcard, which takes IPv4 connections too
//   localhost:7000          127.0.0.1
//   unix:/run/app.sock      a path
//   unix:@name              Linux's abstract namespace (unix(7))
// Names are not resolved here.
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

CHAINRING_BEGIN_NAMESPACE

class Address {
public:
    // No address; family() is 0.
    Address() noexcept = default;

    // Errc::invalid_address, or Errc::too_long for a unix path that does not fit (107 bytes).
    static Result<Address> parse(std::string_view text) noexcept;
    // From a struct sockaddr of `size` bytes, as the system calls give it.
    static Address from_sockaddr(const void* sockaddr, std::size_t size) noexcept;

    std::string to_string() const;
    int family() const noexcept;  // AF_INET, AF_INET6, AF_UNIX or 0
    bool is_unix() const noexcept;
    bool is_unix_path() const noexcept;           // a unix address with a name in the file system
    std::string_view unix_path() const noexcept;  // empty unless is_unix_path()
    std::uint16_t port() const noexcept;          // 0 for unix addresses
    void set_port(std::uint16_t port) noexcept;

    // As a struct sockaddr.
    const void* data() const noexcept { return bytes_.data(); }
    std::size_t size() const noexcept { return size_; }

    friend bool operator==(const Address& left, const Address& right) noexcept;

private:
    alignas(8) std::array<std::byte, 112> bytes_{};  // struct sockaddr_un, the largest, has 110
    std::uint32_t size_ = 0;
};

CHAINRING_END_NAMESPACE
