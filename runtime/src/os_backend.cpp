// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/os_backend.hpp"

#include <chainring/manual_clock.hpp>

#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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

void enable(int fd, int level, int option) noexcept {
    const int on = 1;
    ::setsockopt(fd, level, option, &on, sizeof on);
}

// An integer that getsockopt(2) gives; -1 when it does not.
int ask(int fd, int level, int option) noexcept {
    int value = 0;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, level, option, &value, &size) == 0 ? value : -1;
}

struct OptionName {
    int level;
    int option;
};

OptionName name_of(SocketOption option) noexcept {
    switch (option) {
        case SocketOption::keepalive:
            return {SOL_SOCKET, SO_KEEPALIVE};
        case SocketOption::keepalive_idle:
            return {IPPROTO_TCP, TCP_KEEPIDLE};
        case SocketOption::keepalive_interval:
            return {IPPROTO_TCP, TCP_KEEPINTVL};
        case SocketOption::keepalive_count:
            return {IPPROTO_TCP, TCP_KEEPCNT};
        case SocketOption::user_timeout:
            return {IPPROTO_TCP, TCP_USER_TIMEOUT};
        case SocketOption::send_buffer:
            return {SOL_SOCKET, SO_SNDBUF};
        case SocketOption::receive_buffer:
            break;
    }
    return {SOL_SOCKET, SO_RCVBUF};
}

// ---- unix paths

// The request's path; empty when it has none. Abstract names begin with a zero byte.
std::string path_of(const ListenRequest& request) {
    if (request.address->sa_family != AF_UNIX) return {};
    return reinterpret_cast<const sockaddr_un*>(request.address)->sun_path;
}

std::uint64_t inode_of(const std::string& path) noexcept {
    struct stat status {};
    return !path.empty() && ::lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

// A socket file that a process left behind when it died: connecting is refused. Other files are none of our business,
// though connecting to them is refused as well. Leaves errno as it was.
bool is_stale(const ListenRequest& request, const std::string& path) noexcept {
    const int saved = errno;
    bool stale = false;
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
        const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        stale = probe >= 0 && ::connect(probe, request.address, request.size) < 0 &&
                errno == ECONNREFUSED;  // EAGAIN: its queue is full, but it lives
        if (probe >= 0) ::close(probe);
    }
    errno = saved;
    return stale;
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

Duration OsBackend::time_until(Instant deadline) const noexcept {
    const Instant about = coarse_now();
    if (deadline <= about) return Duration::zero();
    const Duration left = deadline - about;
    return left > 10 * coarse_lag ? left - coarse_lag : deadline - now();
}

Result<int> OsBackend::open_stream(int family) noexcept {
    const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking_ ? SOCK_NONBLOCK : 0), 0);
    if (fd < 0) return last_error();
    if (family != AF_UNIX) enable(fd, IPPROTO_TCP, TCP_NODELAY);  // a listener's accepted sockets inherit it
    return fd;
}

Result<ListeningSocket> OsBackend::listen(const ListenRequest& request) noexcept {
    const Result<int> opened = open_stream(request.address->sa_family);
    if (!opened) return opened.error();
    const int fd = *opened;
    if (request.address->sa_family != AF_UNIX) {
        enable(fd, SOL_SOCKET, SO_REUSEADDR);
        if (request.address->sa_family == AF_INET6) {
            const int off = 0;
            ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        }
        if (request.joins) enable(fd, SOL_SOCKET, SO_REUSEPORT);
    }
    for (const SocketSetting setting : request.settings) {
        if (const int error = set_option(fd, setting)) {
            ::close(fd);
            return std::error_code(error, std::system_category());
        }
    }
    const std::string path = path_of(request);
    int outcome = ::bind(fd, request.address, request.size);
    if (outcome < 0 && errno == EADDRINUSE && !path.empty() && is_stale(request, path)) {
        ::unlink(path.c_str());
        outcome = ::bind(fd, request.address, request.size);
    }
    if (outcome == 0 && request.shares) enable(fd, SOL_SOCKET, SO_REUSEPORT);
    if (outcome == 0) outcome = ::listen(fd, request.backlog);
    if (outcome < 0) {
        const std::error_code error = last_error();
        ::close(fd);
        return error;
    }
    return ListeningSocket{fd, inode_of(path)};
}

void OsBackend::remove_path(const ListenRequest& request, std::uint64_t inode) noexcept {
    const std::string path = path_of(request);
    if (inode != 0 && inode_of(path) == inode) ::unlink(path.c_str());
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
    if (ask(fd, SOL_SOCKET, SO_DOMAIN) != AF_UNIX) enable(fd, IPPROTO_TCP, TCP_NODELAY);
}

void OsBackend::close(Endpoint& endpoint) noexcept {
    if (endpoint.fd >= 0) ::close(endpoint.fd);
    endpoint.fd = -1;
}

void OsBackend::close_unused(int fd) noexcept {
    ::close(fd);
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

int OsBackend::local_name(int fd, sockaddr_storage& name, socklen_t& size) const noexcept {
    return ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) == 0 ? 0 : errno;
}

int OsBackend::peer_name(int fd, sockaddr_storage& name, socklen_t& size) const noexcept {
    return ::getpeername(fd, reinterpret_cast<sockaddr*>(&name), &size) == 0 ? 0 : errno;
}

int OsBackend::set_option(int fd, SocketSetting setting) const noexcept {
    const OptionName name = name_of(setting.option);
    const bool of_tcp = setting.option <= SocketOption::user_timeout;  // as far as they mean anything
    if (of_tcp && ask(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX) return 0;
    return ::setsockopt(fd, name.level, name.option, &setting.value, sizeof setting.value) == 0 ? 0 : errno;
}

int OsBackend::kind_of(int fd, SocketKind& kind) const noexcept {
    const int type = ask(fd, SOL_SOCKET, SO_TYPE);
    if (type < 0) return errno;
    kind.is_stream = type == SOCK_STREAM;
    kind.is_listening = ask(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1;
    kind.family = ask(fd, SOL_SOCKET, SO_DOMAIN);
    return 0;
}

// The kernel fills as much of the struct as it knows: what an older one lacks stays 0.
int OsBackend::stream_info(int fd, StreamInfo& info) const noexcept {
    tcp_info from_kernel{};
    socklen_t size = sizeof from_kernel;
    if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &from_kernel, &size) < 0) return errno;
    info.round_trip = std::chrono::microseconds(from_kernel.tcpi_rtt);
    info.round_trip_variation = std::chrono::microseconds(from_kernel.tcpi_rttvar);
    info.bytes_sent = from_kernel.tcpi_bytes_acked;
    info.bytes_received = from_kernel.tcpi_bytes_received;
    info.retransmits = from_kernel.tcpi_total_retrans;
    info.unacknowledged = from_kernel.tcpi_unacked;
    return 0;
}

}  // namespace detail
CHAINRING_END_NAMESPACE
