// SPDX-License-Identifier: BSL-1.0
// OsBackend: what the two backends over the real kernel share: the clock, the eventfd that wakes, and plain socket
// calls.
#pragma once

#include "runtime/src/backend.hpp"

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class OsBackend : public Backend {
public:
    // `nonblocking`: descriptors carry O_NONBLOCK. Not for io_uring: it would then fail with EAGAIN instead of waiting.
    OsBackend(ManualClock* clock, bool nonblocking);
    ~OsBackend() override;

    void wake() noexcept override;
    Instant now() const noexcept override;
    Instant coarse_now() const noexcept override;

    Result<int> open_stream(int family) noexcept override;
    Result<ListeningSocket> listen(const ListenRequest& request) noexcept override;
    void remove_path(const ListenRequest& request, std::uint64_t inode) noexcept override;
    Result<int> accept_now(int listener) noexcept override;
    int connect_now(int fd, const sockaddr* address, socklen_t size) noexcept override;
    void adopt(int fd) noexcept override;
    void close(Endpoint& endpoint) noexcept override;
    void close_unused(int fd) noexcept override;
    int release(Endpoint& endpoint) noexcept override;
    int shutdown_write(int fd) noexcept override;
    int try_recv(int fd, std::span<std::byte> into) noexcept override;
    void reset_on_close(int fd) noexcept override;
    int local_name(int fd, sockaddr_storage& name, socklen_t& size) const noexcept override;
    int peer_name(int fd, sockaddr_storage& name, socklen_t& size) const noexcept override;
    int set_option(int fd, SocketSetting setting) const noexcept override;
    int kind_of(int fd, SocketKind& kind) const noexcept override;
    int stream_info(int fd, StreamInfo& info) const noexcept override;

protected:
    int wake_fd() const noexcept { return wake_fd_; }
    bool manual_time() const noexcept { return clock_ != nullptr; }
    // How long a wait for `deadline` may sleep. Of one that is far off, a little less: a cheap reading of the clock
    // does, and the next wait is exact.
    Duration time_until(Instant deadline) const noexcept;

private:
    ManualClock* clock_;
    int wake_fd_ = -1;
    bool nonblocking_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
