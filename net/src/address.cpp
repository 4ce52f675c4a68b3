// SPDX-License-Identifier: BSL-1.0
#include <chainring/address.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstring>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

CHAINRING_BEGIN_NAMESPACE

namespace {

static_assert(sizeof(sockaddr_un) <= 112);

template <class Sockaddr>
Sockaddr view(const void* bytes) noexcept {
    Sockaddr address;
    std::memcpy(&address, bytes, sizeof address);
    return address;
}

template <class Number>
bool parse_number(std::string_view text, Number& value) noexcept {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

Result<Address> parse_unix(std::string_view name) noexcept {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (name.empty() || name == "@" || name.find('\0') != std::string_view::npos) return Errc::invalid_address;
    if (name.size() > sizeof address.sun_path - 1) return Errc::too_long;
    std::memcpy(address.sun_path, name.data(), name.size());
    std::size_t size = offsetof(sockaddr_un, sun_path) + name.size();
    if (name.front() == '@')
        address.sun_path[0] = '\0';  // abstract: the length says where the name ends
    else
        ++size;  // a path ends with its zero byte
    return Address::from_sockaddr(&address, size);
}

Result<Address> parse_v4(std::string_view host, std::uint16_t port) noexcept {
    std::array<char, INET_ADDRSTRLEN> text{};
    if (host.size() >= text.size()) return Errc::invalid_address;
    std::copy(host.begin(), host.end(), text.begin());
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (::inet_pton(AF_INET, text.data(), &address.sin_addr) != 1) return Errc::invalid_address;
    return Address::from_sockaddr(&address, sizeof address);
}

Result<Address> parse_v6(std::string_view host, std::uint16_t port) noexcept {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    if (const auto percent = host.find('%'); percent != std::string_view::npos) {
        const std::string_view zone = host.substr(percent + 1);
        host = host.substr(0, percent);
        if (!parse_number(zone, address.sin6_scope_id)) {
            std::array<char, IF_NAMESIZE> name{};
            if (zone.empty() || zone.size() >= name.size()) return Errc::invalid_address;
            std::copy(zone.begin(), zone.end(), name.begin());
            address.sin6_scope_id = ::if_nametoindex(name.data());
            if (address.sin6_scope_id == 0) return Errc::invalid_address;
        }
    }
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (host.size() >= text.size()) return Errc::invalid_address;
    std::copy(host.begin(), host.end(), text.begin());
    if (::inet_pton(AF_INET6, text.data(), &address.sin6_addr) != 1) return Errc::invalid_address;
    return Address::from_sockaddr(&address, sizeof address);
}

}  // namespace

Result<Address> Address::parse(std::string_view text) noexcept {
    constexpr std::string_view unix_prefix = "unix:";
    if (text.substr(0, unix_prefix.size()) == unix_prefix) return parse_unix(text.substr(unix_prefix.size()));
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return Errc::invalid_address;
    const std::string_view host = text.substr(0, colon);
    std::uint16_t port = 0;
    if (!parse_number(text.substr(colon + 1), port)) return Errc::invalid_address;
    if (host.empty()) return parse_v6("::", port);
    if (host == "localhost") return parse_v4("127.0.0.1", port);
    if (host.front() == '[' && host.back() == ']') return parse_v6(host.substr(1, host.size() - 2), port);
    return parse_v4(host, port);
}

Address Address::from_sockaddr(const void* sockaddr, std::size_t size) noexcept {
    Address address;
    address.size_ = static_cast<std::uint32_t>(std::min(size, address.bytes_.size()));
    std::memcpy(address.bytes_.data(), sockaddr, address.size_);
    return address;
}

int Address::family() const noexcept {
    return size_ < sizeof(sa_family_t) ? 0 : view<sa_family_t>(bytes_.data());
}

bool Address::is_unix() const noexcept {
    return family() == AF_UNIX;
}

bool Address::is_unix_path() const noexcept {
    return is_unix() && size_ > offsetof(sockaddr_un, sun_path) &&
           bytes_[offsetof(sockaddr_un, sun_path)] != std::byte{0};
}

std::string_view Address::unix_path() const noexcept {
    if (!is_unix_path()) return {};
    const char* path = reinterpret_cast<const char*>(bytes_.data()) + offsetof(sockaddr_un, sun_path);
    return {path, ::strnlen(path, size_ - offsetof(sockaddr_un, sun_path))};
}

std::uint16_t Address::port() const noexcept {
    if (family() == AF_INET) return ntohs(view<sockaddr_in>(bytes_.data()).sin_port);
    if (family() == AF_INET6) return ntohs(view<sockaddr_in6>(bytes_.data()).sin6_port);
    return 0;
}

void Address::set_port(std::uint16_t port) noexcept {
    const std::uint16_t network = htons(port);
    if (family() == AF_INET) std::memcpy(bytes_.data() + offsetof(sockaddr_in, sin_port), &network, 2);
    if (family() == AF_INET6) std::memcpy(bytes_.data() + offsetof(sockaddr_in6, sin6_port), &network, 2);
}

std::string Address::to_string() const {
    if (family() == AF_INET) {
        const auto address = view<sockaddr_in>(bytes_.data());
        std::array<char, INET_ADDRSTRLEN> text{};
        ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
        return std::string(text.data()) + ":" + std::to_string(port());
    }
    if (family() == AF_INET6) {
        const auto address = view<sockaddr_in6>(bytes_.data());
        std::array<char, INET6_ADDRSTRLEN> text{};
        ::inet_ntop(AF_INET6, &address.sin6_addr, text.data(), text.size());
        std::string printed = "[" + std::string(text.data());
        if (address.sin6_scope_id != 0) {
            std::array<char, IF_NAMESIZE> name{};
            printed += '%';
            printed += ::if_indextoname(address.sin6_scope_id, name.data()) ? std::string(name.data())
                                                                            : std::to_string(address.sin6_scope_id);
        }
        return printed + "]:" + std::to_string(port());
    }
    if (is_unix_path()) return "unix:" + std::string(unix_path());
    if (is_unix()) {
        constexpr std::size_t name_at = offsetof(sockaddr_un, sun_path) + 1;
        if (size_ <= name_at) return "unix:";  // an unnamed socket: the usual peer of a unix listener
        return "unix:@" + std::string(reinterpret_cast<const char*>(bytes_.data()) + name_at, size_ - name_at);
    }
    return "none";
}

bool operator==(const Address& left, const Address& right) noexcept {
    return left.size_ == right.size_ && std::memcmp(left.bytes_.data(), right.bytes_.data(), left.size_) == 0;
}

CHAINRING_END_NAMESPACE
