// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/os_backend.hpp"

#include <chainring/manual_clock.hpp>

#include <cerrno>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {
std::error_code last_error() noexcept {
    return {errno, std::system_category()};
}

void set_nonblocking(int fd, bool on) noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    ::fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}
}  // namespace

OsBackend::OsBackend(ManualClock* clock, bool nonblocking) : clock_(clock), nonblocking_(nonblocking) {
    wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd_ < 0) throw std::system_error(last_error(), "chainring: eventfd");
}

OsBackend::~OsBackend() {
    ::close(wake_fd_);
}

// The counter is never read: both backends watch the descriptor edge-triggered, and each write is an edge.
void OsBackend::wake() noexcept {
    const int saved = errno;  // also runs in signal handlers
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
    errno = saved;
}

Instant OsBackend::now() const noexcept {
    return clock_ ? clock_->now() : std::chrono::steady_clock::now();
}

Instant OsBackend::coarse_now() const noexcept {
    if (clock_) return clock_->now();
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return Instant(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

Result<int> OsBackend::open_stream(int family) noexcept {
    const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking_ ? SOCK_NONBLOCK : 0), 0);
    if (fd < 0) return last_error();
    return fd;
}

Result<int> OsBackend::accept_now(int listener) noexcept {
    // The listener may be a blocking descriptor: it is made non-blocking for good, which only its end calls for.
    if (!nonblocking_) set_nonblocking(listener, true);
    for (;;) {
        const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | (nonblocking_ ? SOCK_NONBLOCK : 0));
        if (fd >= 0) return fd;
        if (errno != EINTR && errno != ECONNABORTED) return last_error();
    }
}

int OsBackend::connect_now(int fd, const sockaddr* address, socklen_t size) noexcept {
    if (!nonblocking_) set_nonblocking(fd, true);
    const int error = ::connect(fd, address, size) == 0 ? 0 : errno;
    if (!nonblocking_) set_nonblocking(fd, false);
    return error;
}

void OsBackend::adopt(int fd) noexcept {
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    set_nonblocking(fd, nonblocking_);
}

void OsBackend::close(Endpoint& endpoint) noexcept {
    if (endpoint.fd >= 0) ::close(endpoint.fd);
    endpoint.fd = -1;
}

int OsBackend::release(Endpoint& endpoint) noexcept {
    return std::exchange(endpoint.fd, -1);
}

int OsBackend::shutdown_write(int fd) noexcept {
    return ::shutdown(fd, SHUT_WR) == 0 ? 0 : errno;
}

int OsBackend::try_recv(int fd, std::span<std::byte> into) noexcept {
    const ssize_t size = ::recv(fd, into.data(), into.size(), MSG_DONTWAIT);
    return size < 0 ? -errno : static_cast<int>(size);
}

void OsBackend::reset_on_close(int fd) noexcept {
    const linger reset{1, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
