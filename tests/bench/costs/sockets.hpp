// SPDX-License-Identifier: BSL-1.0
// Connections over the loopback interface whose far ends are plain blocking sockets.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace costs {

inline void require(bool held, const char* what) {
    if (held) return;
    std::perror(what);
    std::exit(1);
}

struct Connections {
    std::vector<int> near;  // to be adopted
    std::vector<int> far;

    explicit Connections(std::size_t count) {
        const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        socklen_t size = sizeof address;
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto* const name = reinterpret_cast<sockaddr*>(&address);
        require(::bind(listener, name, size) == 0 && ::listen(listener, 128) == 0, "listen");
        require(::getsockname(listener, name, &size) == 0, "getsockname");
        for (std::size_t at = 0; at < count; ++at) {
            far.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            const int on = 1;
            ::setsockopt(far.back(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            require(::connect(far.back(), name, size) == 0, "connect");
            near.push_back(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
            require(near.back() >= 0, "accept");
        }
        ::close(listener);
    }
    Connections(const Connections&) = delete;
    Connections& operator=(const Connections&) = delete;
    ~Connections() {
        for (const int fd : far) ::close(fd);
    }
};

}  // namespace costs
