// SPDX-License-Identifier: BSL-1.0
// Plain sockets, as the other side of a Link has them, without chainring: of the system, or, where the calling task
// runs in a simulated world, of its machine. They never block; what has to wait is a Task, which yields until it is
// done and on the real system waits in the call.
#pragma once

#include <chainring/chainring.hpp>

#include "runtime/src/sim/host.hpp"
#include "runtime/src/sim/network.hpp"
#include "runtime/src/sim/simulation.hpp"

#include <cerrno>
#include <dirent.h>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>

namespace support::plain {

using namespace chainring;

// Null on the real system.
inline detail::sim::Machine* machine() {
    detail::sim::Simulation* world = detail::sim::Simulation::current();
    return world ? &world->hosts().front()->machine() : nullptr;
}

// -1 and errno, as the system says it.
inline long say(long result) {
    if (result >= 0) return result;
    errno = static_cast<int>(-result);
    return -1;
}

inline const sockaddr* raw(const Address& address) {
    return static_cast<const sockaddr*>(address.data());
}
inline socklen_t size(const Address& address) {
    return static_cast<socklen_t>(address.size());
}

// A connected socket, or -1 and errno.
inline Task<int> connect(Address to) {
    if (detail::sim::Machine* at = machine()) {
        const int fd = at->open_stream(to.family());
        int result = at->connect(fd, raw(to), size(to));
        while (result == -EINPROGRESS) {
            co_await yield();
            result = at->connect_outcome(fd);
        }
        if (result == -ECONNRESET) result = 0;  // it was connected, and has been reset since
        if (result < 0) at->close(fd);
        co_return static_cast<int>(say(result < 0 ? result : fd));
    }
    const int fd = ::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd, raw(to), size(to)) < 0) {
        const int error = errno;
        ::close(fd);
        errno = error;
        co_return -1;
    }
    co_return fd;
}

inline long send(int fd, std::string_view bytes) {
    if (detail::sim::Machine* at = machine()) return say(at->send(fd, as_bytes(bytes)));
    return ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}
inline long recv(int fd, std::span<std::byte> into) {
    if (detail::sim::Machine* at = machine()) return say(at->recv(fd, into));
    return ::recv(fd, into.data(), into.size(), MSG_DONTWAIT);
}
inline void shutdown_write(int fd) {
    if (detail::sim::Machine* at = machine())
        at->shutdown_write(fd);
    else
        ::shutdown(fd, SHUT_WR);
}
inline void close(int fd) {
    if (detail::sim::Machine* at = machine())
        at->close(fd);
    else
        ::close(fd);
}
inline void reset(int fd) {
    if (detail::sim::Machine* at = machine()) {
        at->reset_on_close(fd);
    } else {
        const linger now{1, 0};  // nothing is left in TIME_WAIT
        ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    close(fd);
}

inline int listen(const Address& on, int backlog) {
    if (detail::sim::Machine* at = machine()) {
        detail::ListenRequest request;
        request.address = raw(on);
        request.size = size(on);
        request.backlog = backlog;
        const auto made = at->listen(request);
        return made ? made->fd : static_cast<int>(say(-made.error().value()));
    }
    const int fd = ::socket(on.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (::bind(fd, raw(on), size(on)) == 0 && ::listen(fd, backlog) == 0) return fd;
    ::close(fd);
    return -1;
}
inline int accept(int fd) {
    if (detail::sim::Machine* at = machine()) return static_cast<int>(say(at->accept(fd)));
    return ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
}
inline Address name_of(int fd) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (detail::sim::Machine* at = machine())
        at->local_name(fd, storage, size);
    else
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size);
    return Address::from_sockaddr(&storage, size);
}

// Open descriptors of this process.
inline int descriptors() {
    if (const detail::sim::Machine* at = machine()) return static_cast<int>(at->open_descriptors());
    int count = 0;
    DIR* directory = opendir("/proc/self/fd");
    while (readdir(directory)) ++count;
    closedir(directory);
    return count;
}

// The clock that goes on by itself, whatever ManualClock the runtime has.
inline Instant clock() {
    detail::sim::Simulation* world = detail::sim::Simulation::current();
    return world ? world->read_clock() : std::chrono::steady_clock::now();
}

// Waits for what another worker does, without letting this worker go on; in a simulated world it has to.
template <class Done>
Task<> wait_in_place(Done done) {
    while (!done())
        if (machine()) co_await yield();
}

}  // namespace support::plain
