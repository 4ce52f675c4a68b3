// SPDX-License-Identifier: BSL-1.0
// Backend: everything that a worker asks of the operating system, spoken in completions. One per worker.
//
// Threads: all calls on the worker's thread after attach(), except wake(). Completions are delivered from poll(),
// wait() and spin(), never from submit() or cancel(): an operation's owner is not re-entered.
//
// Implementations: uring/ and epoll/; the semantics are the same to the letter, and each I/O test runs on both. And
// sim/, a world in memory that does what they may do (docs/design/simulator.md).
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/runtime.hpp>
#include <chainring/time.hpp>

#include "runtime/src/buffer_pool.hpp"
#include "runtime/src/operation.hpp"
#include "runtime/src/resolver.hpp"

#include <cerrno>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// What may be set on a socket. Those of TCP are ignored on unix sockets.
enum class SocketOption : std::uint8_t {
    keepalive,           // 0 or 1
    keepalive_idle,      // seconds without traffic before the first probe
    keepalive_interval,  // seconds between probes
    keepalive_count,     // probes without an answer that end the connection
    user_timeout,        // milliseconds that sent bytes may wait for the peer's acknowledgement
    send_buffer,         // bytes
    receive_buffer,      // bytes
};
struct SocketSetting {
    SocketOption option;
    int value;
};

// What a descriptor made elsewhere is.
struct SocketKind {
    int family = 0;
    bool is_stream = false;
    bool is_listening = false;
};

// What the kernel knows of a TCP connection.
struct StreamInfo {
    Duration round_trip{};
    Duration round_trip_variation{};
    std::uint64_t bytes_sent = 0;  // as acknowledged by the peer
    std::uint64_t bytes_received = 0;
    std::uint32_t retransmits = 0;     // segments, over all the connection's life
    std::uint32_t unacknowledged = 0;  // segments on their way now
};

// Where to listen. A port in use is found by a plain bind before SO_REUSEPORT is set: else two servers of one user
// would share a port without knowing.
struct ListenRequest {
    const sockaddr* address = nullptr;
    socklen_t size = 0;
    int backlog = 0;
    bool joins = false;                         // shares a port with others that say so, or with one that `shares`
    bool shares = false;                        // the first one, which others are to join
    std::span<const SocketSetting> settings{};  // connections inherit them
};
struct ListeningSocket {
    int fd = -1;
    std::uint64_t path_inode = 0;  // of the unix path that was made; 0: none
};

class Backend {
public:
    virtual ~Backend() = default;
    virtual std::string_view name() const noexcept = 0;

    // Binds the backend to the calling thread, its worker's; once. Throws std::system_error.
    virtual void attach() = 0;
    // Ends what the backend itself keeps in flight; no operation may be armed.
    virtual void detach() noexcept = 0;

    virtual void submit(Operation& operation) noexcept = 0;
    // A send whose bytes, `unawaited`, this worker has lent. When all have gone they are given back, or the operation
    // is completed as any other, as the backend likes; completed if it is `told`, or if it has not gone as a whole.
    // This may be late, but is before the backend sleeps if expect() was called. Its owner neither submits nor frees it
    // inside of its completion.
    virtual void submit_unawaited(SendOperation& send) noexcept = 0;
    // Asks an armed operation to end soon; its terminal completion says how it did end. Idempotent.
    virtual void cancel(Operation& operation) noexcept = 0;
    // Something waits for the end of an unawaited send after all: it is told, and before wait() sleeps.
    void expect(SendOperation& send) noexcept { send.told = expected_ = true; }

    // Hands over what was submitted and delivers what has completed, without waiting; no system call when there is
    // nothing to hand over and nothing completed.
    virtual void poll() noexcept = 0;
    // As poll, but sleeps until something completes, wake() is called or `deadline` (Instant::max(): none) has passed.
    virtual void wait(Instant deadline) noexcept = 0;
    // One look, as cheap as can be, at whether there is something to deliver, and its delivery: the body of a spin.
    virtual bool spin() noexcept = 0;
    // Ends a wait() that is in progress or the next one. Any thread, async-signal-safe.
    virtual void wake() noexcept = 0;

    virtual Instant now() const noexcept = 0;
    // As now(), for pennies and up to a scheduler tick of the kernel behind, which is well below coarse_lag.
    virtual Instant coarse_now() const noexcept = 0;
    static constexpr Duration coarse_lag = std::chrono::milliseconds(100);
    virtual BufferPool& buffers() noexcept = 0;

    // Operations submitted and not terminally completed.
    std::uint64_t in_flight() const noexcept { return in_flight_; }
    std::uint64_t completions() const noexcept { return completions_; }

    // Sockets. Descriptors are CLOEXEC and in the blocking mode that the backend needs; those of TCP have TCP_NODELAY.
    // net knows them by number only and calls nothing of the system itself.
    virtual Result<int> open_stream(int family) noexcept = 0;
    virtual Result<ListeningSocket> listen(const ListenRequest& request) noexcept = 0;
    virtual void remove_path(const ListenRequest& request, std::uint64_t inode) noexcept = 0;  // if it is still ours
    virtual Result<int> accept_now(int listener) noexcept = 0;  // never waits: EAGAIN when none is there
    virtual int connect_now(int fd, const sockaddr* address,
                            socklen_t size) noexcept = 0;  // never waits: 0, or the errno
    virtual void adopt(int fd) noexcept = 0;               // makes a descriptor made elsewhere like ours
    virtual void close(Endpoint& endpoint) noexcept = 0;   // no operation armed
    virtual void close_unused(int fd) noexcept = 0;        // never was an Endpoint's; on any worker's thread
    virtual int release(Endpoint& endpoint) noexcept = 0;  // as close, but the caller keeps the descriptor
    virtual int shutdown_write(int fd) noexcept = 0;       // 0, or the errno
    virtual int try_recv(int fd, std::span<std::byte> into) noexcept = 0;  // never waits: bytes, or negative errno
    virtual void reset_on_close(int fd) noexcept = 0;                      // close() will send RST
    // 0, or the errno. Any thread, while the descriptor cannot be closed.
    virtual int local_name(int fd, sockaddr_storage& name, socklen_t& size) const noexcept = 0;
    virtual int peer_name(int fd, sockaddr_storage& name, socklen_t& size) const noexcept = 0;
    // The same rules. A backend need not have these: ENOTSUP.
    virtual int set_option(int fd, SocketSetting setting) const noexcept;
    virtual int kind_of(int fd, SocketKind& kind) const noexcept;
    virtual int stream_info(int fd, StreamInfo& info) const noexcept;

    // Names. True: `answer` says what `host` resolves to in this backend's own world, at once. False, as in both that
    // stand on the kernel: ask the system, which takes a thread (resolver.hpp). All resolving of names comes by here.
    virtual bool resolve_here([[maybe_unused]] const std::string& host,
                              [[maybe_unused]] ResolvedName& answer) noexcept {
        return false;
    }

protected:
    // Bookkeeping of the implementations.
    bool expected_ = false;
    void begin(Operation& operation) noexcept {
        operation.armed = true;
        operation.cancel_requested = false;
        ++operation.generation;
        ++in_flight_;
    }
    void deliver(Operation& operation, Completion completion) noexcept {
        ++completions_;
        if (!completion.more) {
            operation.armed = false;
            --in_flight_;
        }
        operation.complete(operation, completion);
    }
    // Operations that were disarmed without being told.
    void note_ends(std::uint64_t count) noexcept {
        completions_ += count;
        in_flight_ -= count;
    }

private:
    std::uint64_t in_flight_ = 0;
    std::uint64_t completions_ = 0;
};

struct BackendOptions {
    unsigned recv_buffers;
    unsigned recv_buffer_size;
    unsigned ring_entries;
    ManualClock* clock;
};

inline int Backend::set_option(int, SocketSetting) const noexcept {
    return ENOTSUP;
}
inline int Backend::kind_of(int, SocketKind&) const noexcept {
    return ENOTSUP;
}
inline int Backend::stream_info(int, StreamInfo&) const noexcept {
    return ENOTSUP;
}

// Throws std::system_error saying why the kernel refused; uring also when the library was built without it.
std::unique_ptr<Backend> make_uring_backend(const BackendOptions& options);
std::unique_ptr<Backend> make_epoll_backend(const BackendOptions& options);

}  // namespace detail
CHAINRING_END_NAMESPACE
