// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/sim/name.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/un.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

namespace {
constexpr std::size_t path_at = offsetof(sockaddr_un, sun_path);

HostAddress mapped(std::uint8_t first, std::uint8_t last) noexcept {
    HostAddress address;
    address.bytes[10] = address.bytes[11] = 0xff;
    address.bytes[12] = first;
    address.bytes[15] = last;
    return address;
}
}  // namespace

HostAddress HostAddress::parse(std::string_view text) {
    const std::string terminated(text);
    HostAddress address = mapped(0, 0);
    if (::inet_pton(AF_INET, terminated.c_str(), address.bytes.data() + 12) == 1) return address;
    if (::inet_pton(AF_INET6, terminated.c_str(), address.bytes.data()) == 1) return address;
    throw std::invalid_argument("chainring: not an address: " + terminated);
}

HostAddress HostAddress::any(bool v4) noexcept {
    return v4 ? mapped(0, 0) : HostAddress();
}

HostAddress HostAddress::loopback(bool v4) noexcept {
    if (v4) return mapped(127, 1);
    HostAddress address;
    address.bytes[15] = 1;
    return address;
}

bool HostAddress::is_v4() const noexcept {
    const HostAddress prefix = mapped(0, 0);
    return std::equal(bytes.begin(), bytes.begin() + 12, prefix.bytes.begin());
}

bool HostAddress::is_any() const noexcept {
    return *this == any(is_v4());
}

bool HostAddress::is_loopback() const noexcept {
    return is_v4() ? bytes[12] == 127 : *this == loopback(false);
}

std::string HostAddress::to_string() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const bool v4 = is_v4();
    ::inet_ntop(v4 ? AF_INET : AF_INET6, bytes.data() + (v4 ? 12 : 0), text.data(), text.size());
    return text.data();
}

std::string Name::to_string() const {
    if (is_unix()) {
        if (path.empty()) return "unix:";
        return "unix:" + (is_abstract() ? "@" + path.substr(1) : path);
    }
    const std::string host = address.to_string();
    return (address.is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port);
}

int read_name(const sockaddr* address, socklen_t size, Name& name) {
    if (!address || size < sizeof(sa_family_t)) return EINVAL;
    sa_family_t family = 0;
    std::memcpy(&family, reinterpret_cast<const std::byte*>(address) + offsetof(sockaddr, sa_family), sizeof family);
    name.family = family;
    if (family == AF_INET) {
        sockaddr_in in{};
        if (size < sizeof in) return EINVAL;
        std::memcpy(&in, address, sizeof in);
        name.address = HostAddress::any(true);
        std::memcpy(name.address.bytes.data() + 12, &in.sin_addr, 4);
        name.port = ntohs(in.sin_port);
        return 0;
    }
    if (family == AF_INET6) {
        sockaddr_in6 in{};
        if (size < offsetof(sockaddr_in6, sin6_scope_id)) return EINVAL;
        std::memcpy(&in, address, std::min<std::size_t>(size, sizeof in));
        std::memcpy(name.address.bytes.data(), &in.sin6_addr, 16);
        name.port = ntohs(in.sin6_port);
        return 0;
    }
    if (family != AF_UNIX) return EAFNOSUPPORT;
    if (size <= path_at || size > sizeof(sockaddr_un)) return EINVAL;
    name.path.assign(reinterpret_cast<const char*>(address) + path_at, size - path_at);
    // A path ends at its zero byte, an abstract name where the size says (unix(7)).
    if (name.path.front() != '\0') name.path.resize(std::min(name.path.find('\0'), name.path.size()));
    return 0;
}

void write_name(const Name& name, sockaddr_storage& into, socklen_t& size) noexcept {
    sockaddr_storage full{};
    socklen_t length = 0;
    if (name.family == AF_INET) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(name.port);
        std::memcpy(&in.sin_addr, name.address.bytes.data() + 12, 4);
        std::memcpy(&full, &in, length = sizeof in);
    } else if (name.family == AF_INET6) {
        sockaddr_in6 in{};
        in.sin6_family = AF_INET6;
        in.sin6_port = htons(name.port);
        std::memcpy(&in.sin6_addr, name.address.bytes.data(), 16);
        std::memcpy(&full, &in, length = sizeof in);
    } else {
        sockaddr_un un{};
        un.sun_family = AF_UNIX;
        const std::size_t bytes = std::min(name.path.size(), sizeof un.sun_path);
        std::memcpy(un.sun_path, name.path.data(), bytes);
        const bool terminated = bytes > 0 && !name.is_abstract() && bytes < sizeof un.sun_path;
        length = static_cast<socklen_t>(bytes > 0 ? path_at + bytes + (terminated ? 1 : 0) : sizeof(sa_family_t));
        std::memcpy(&full, &un, sizeof un);
    }
    std::memcpy(&into, &full, std::min<std::size_t>({size, length, sizeof full}));
    size = length;
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
