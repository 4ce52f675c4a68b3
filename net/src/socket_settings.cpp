// SPDX-License-Identifier: BSL-1.0
#include "net/src/socket_settings.hpp"

#include <algorithm>
#include <limits>
#include <sys/socket.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

SocketSettings::SocketSettings(const SocketOptions& options) noexcept {
    if (options.keepalive_idle.count() != 0) {
        add(SocketOption::keepalive, 1);
        add(SocketOption::keepalive_idle, options.keepalive_idle.count());
        add(SocketOption::keepalive_interval, options.keepalive_interval.count());
        add(SocketOption::keepalive_count, options.keepalive_count);
    }
    add(SocketOption::user_timeout, options.user_timeout.count());
    add(SocketOption::send_buffer, options.send_buffer);
    add(SocketOption::receive_buffer, options.receive_buffer);
}

// What does not fit in an int is for the kernel to refuse, or to cap.
void SocketSettings::add(SocketOption option, std::int64_t value) noexcept {
    if (value == 0) return;
    const std::int64_t fitting = std::clamp<std::int64_t>(value, -1, std::numeric_limits<int>::max());
    settings_[count_++] = {option, static_cast<int>(fitting)};
}

std::error_code SocketSettings::apply(const Backend& backend, int fd) const noexcept {
    for (const SocketSetting setting : all())
        if (const int error = backend.set_option(fd, setting)) return {error, std::system_category()};
    return {};
}

std::error_code check_adopted(const Backend& backend, int fd, bool listening) noexcept {
    SocketKind kind;
    if (const int error = backend.kind_of(fd, kind)) return {error, std::system_category()};
    if (!kind.is_stream) return std::make_error_code(std::errc::wrong_protocol_type);
    if (kind.family != AF_INET && kind.family != AF_INET6 && kind.family != AF_UNIX)
        return std::make_error_code(std::errc::address_family_not_supported);
    if (listening) return kind.is_listening ? std::error_code() : std::make_error_code(std::errc::invalid_argument);
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    const int error = backend.peer_name(fd, name, size);
    return {error, std::system_category()};
}

}  // namespace detail
CHAINRING_END_NAMESPACE
