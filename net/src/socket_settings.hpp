// SPDX-License-Identifier: BSL-1.0
// SocketOptions as the backends take them, and the checks of descriptors that were made elsewhere.
#pragma once

#include <chainring/result.hpp>
#include <chainring/socket_options.hpp>

#include "runtime/src/backend.hpp"

#include <array>
#include <cstddef>
#include <span>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class SocketSettings {
public:
    explicit SocketSettings(const SocketOptions& options) noexcept;
    std::span<const SocketSetting> all() const noexcept { return {settings_.data(), count_}; }
    // The first error, or none.
    std::error_code apply(const Backend& backend, int fd) const noexcept;

private:
    void add(SocketOption option, std::int64_t value) noexcept;
    std::array<SocketSetting, 7> settings_{};
    std::size_t count_ = 0;
};

// None for a stream socket of a family that an Address can name, listening or connected as asked; else what is wrong:
// bad_file_descriptor, not_a_socket, wrong_protocol_type, address_family_not_supported, invalid_argument (not
// listening), not_connected.
std::error_code check_adopted(const Backend& backend, int fd, bool listening) noexcept;

}  // namespace detail
CHAINRING_END_NAMESPACE
