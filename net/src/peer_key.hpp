// SPDX-License-Identifier: BSL-1.0
// PeerKey: what tells peers apart, as a network gives it to one customer: the 32 bits of an IPv4 address, the upper 64
// of an IPv6 one (RFC 6177); IPv4-mapped IPv6 is IPv4. All peers on unix sockets are one. The hash is the same in every
// process, and on every machine of one byte order.
#pragma once

#include <chainring/address.hpp>
#include <chainring/config.hpp>

#include <cstddef>
#include <cstdint>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

struct PeerKey {
    std::uint64_t bits = 0;
    int family = 0;

    static PeerKey of(const Address& peer) noexcept;
    std::size_t hash() const noexcept {
        std::uint64_t value = (bits ^ static_cast<std::uint64_t>(family) << 56) * 0x9E3779B97F4A7C15U;
        return static_cast<std::size_t>(value ^ value >> 32);  // the low bits are those of a small modulus
    }
    friend bool operator==(const PeerKey&, const PeerKey&) noexcept = default;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
