// SPDX-License-Identifier: BSL-1.0
// Link: one connection (TCP or unix stream), and its handle. Move-only; the handle's destructor never blocks.
//
// Home. A Link lives on the worker that accepted or connected it, for life. Its operations may be awaited on any
// worker: a task that is elsewhere goes to the Link's home for them, and goes on there (unless it has an affinity, see
// schedule.hpp). The connection itself never moves. A limit counts from the beginning at home; neither it nor a cancel
// cuts the way there short.
//
// Handle. It is one task's at a time; operations on it may be begun by several tasks, on any workers. It may be
// destroyed on any thread, but not by one that is no worker while run() returns. To send without waiting, or from a
// thread that runs no task, take an Outbox.
//
// Overlap. One receive at a time (a second one traps) and any number of sends: each send is one contiguous unit on the
// wire, in the order of the calls.
//
// Errors. Receives and sends yield a Result: Errc::eof (the peer has ended its direction), timed_out, cancelled,
// closed, shutting_down (the runtime drains and nothing of this message had arrived), or the kernel's errno in
// std::system_category. They never throw; recv_until yields not_enough_memory when its text finds no room.
//
// What was received before an error is delivered first. A receive that ends early has consumed nothing. Running out of
// memory in the middle of an operation ends the process (std::terminate).
#pragma once

#include <chainring/address.hpp>
#include <chainring/chunk.hpp>
#include <chainring/config.hpp>
#include <chainring/link_operations.hpp>
#include <chainring/outbox.hpp>
#include <chainring/result.hpp>
#include <chainring/socket_options.hpp>
#include <chainring/task.hpp>
#include <chainring/trap.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

class ConnectOp;
namespace detail {
class FrameSource;
}

class Link {
public:
    Link() noexcept = default;
    Link(Link&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    Link& operator=(Link&& other) noexcept {
        if (this != &other) {
            drop();
            state_ = std::exchange(other.state_, nullptr);
        }
        return *this;
    }
    // Resets a connection that was not closed. A Link that Listener::serve gave to its handler is closed gracefully
    // instead: see there.
    ~Link() { drop(); }

    // Connects to `to`. Yields the Link, at home on this worker. A cancel or limit that loses the race with success
    // yields the Link all the same. A unix listener whose queue is full is EAGAIN, at once; a connection of a port with
    // itself (when nobody listens there) is ECONNREFUSED.
    static ConnectOp connect(const Address& to, SocketOptions options = {}) noexcept;
    // The same with the text form of an address; a malformed one yields Errc::invalid_address. For names, several
    // addresses and retries see dial.hpp.
    static ConnectOp connect(std::string_view to, SocketOptions options = {}) noexcept;

    // Takes over a connected stream socket that came from elsewhere (SCM_RIGHTS, socketpair(2), inetd); on a task,
    // whose worker becomes its home. It becomes CLOEXEC, with TCP_NODELAY and the socket options. Errors:
    // bad_file_descriptor, not_a_socket, wrong_protocol_type (no stream), not_connected (also when it listens),
    // address_family_not_supported, what the kernel says of the options, not_enough_memory. With an error the
    // descriptor stays the caller's, else it is the Link's. Whether it blocks is changed as the backend needs it,
    // also for other processes that share it.
    static Result<Link> adopt(int fd, SocketOptions options = {}) noexcept;

    // Receives what has arrived, at least one byte, lent. Completes when there is something; ends with Errc::eof after
    // the peer's last byte.
    RecvOp recv() noexcept { return RecvOp(state()); }
    // Receives into `into` (not empty): at least one byte, at most its size; yields how many.
    RecvIntoOp recv(std::span<std::byte> into) noexcept { return RecvIntoOp(state(), into); }
    // Fills `into`. Consumes all or nothing: with any error, also eof in the middle, what had arrived is there for the
    // next receive.
    RecvExactOp recv_exact(std::span<std::byte> into) noexcept { return RecvExactOp(state(), into); }
    // Receives up to and with `delimiter` (1 to 64 bytes, alive until the await ends) and yields what is before it.
    // When `max` bytes (at most 16 MiB) have come without it: Errc::too_long, and nothing is consumed; so with eof.
    RecvUntilOp recv_until(std::string_view delimiter, std::size_t max) noexcept {
        return RecvUntilOp(state(), delimiter, max);
    }
    // Copies what has arrived, at least `at_least` bytes and at most as many as fit, and consumes none of it; yields
    // how many were copied. When the peer ends before there are so many: Errc::eof; they are still there. For telling
    // protocols apart.
    PeekOp peek(std::span<std::byte> into, std::size_t at_least = 1) noexcept {
        return PeekOp(state(), into, at_least);
    }

    // Sends all bytes. Completes when the kernel has taken them; the memory must stay valid until then. A send that is
    // ended early while some of its bytes are on the wire breaks the direction: later sends end with
    // Errc::write_broken.
    SendOp send(std::span<const std::byte> bytes) noexcept { return SendOp(state(), bytes); }
    SendOp send(std::string_view text) noexcept { return SendOp(state(), as_bytes(text)); }
    // Sends several pieces as one unit.
    SendOp send(std::span<const IoSlice> pieces) noexcept { return SendOp(state(), pieces); }
    // Sends received bytes on without copying them; their buffers go back as soon as the kernel has taken or refused
    // them.
    SendOp send(Chunk&& chunk) noexcept { return SendOp(state(), std::move(chunk)); }
    // Hands received bytes over to be sent on, for servers that answer with what they got: does not wait for the
    // kernel, which is a suspension less for each message. Completes at once when the task is at the Link's home,
    // nothing of the Link is still to be sent and the chunk is one piece of a buffer of that worker; otherwise when
    // send does, so that a peer which does not read is not sent more than one chunk ahead. The bytes leave when the
    // task next waits, and their buffer is back by the next pass of the loop. As with bytes in the socket itself, that
    // they could not be sent is told by what the Link does next: later sends and forwards end with the error, so does
    // shutdown_write(), and a reset ends receives. Ends of the Link send them first, an abort tries to. Takes .within()
    // and .until(), no token.
    ForwardOp forward(Chunk&& chunk) noexcept { return ForwardOp(state(), std::move(chunk)); }
    // Sends shared bytes without copying them; the send keeps them until it has ended.
    SendOp send(Payload payload) noexcept { return SendOp(state(), std::move(payload)); }

    // Ends the sending direction after everything queued (half close). Receiving goes on. Yields 0.
    SendOp shutdown_write() noexcept { return SendOp(state(), SendOp::EndOfStream::yes); }
    // Sends what is queued, then closes both directions. Completes when the descriptor is closed. A limit or cancel
    // turns it into an abort. Bytes that the peer sent and nobody received make the kernel reset the connection, as
    // close(2) does.
    CloseOp close() noexcept { return CloseOp(state()); }
    // The safe end: sends what is queued, then FIN; receives and discards what the peer still sends, until its FIN;
    // then closes. Yields true when all of that came to pass within `timeout`; the peer has then received every byte,
    // unless it ended without reading. Else false: reset when not everything was sent yet, or the peer has reset;
    // closed when only its FIN is missing. A waiting receive ends with Errc::closed. A cancel ends it as the timeout
    // does.
    GracefulCloseOp close_gracefully(Duration timeout) noexcept { return GracefulCloseOp(state(), timeout); }
    // Resets the connection after `duration`, whatever it is doing, unless it has ended by then; that costs nothing.
    // The latest call counts; Duration::max() takes it back. Throws std::bad_alloc.
    void force_close_after(Duration duration);
    // Ends the Link when it has been idle for `duration`: a waiting receive ends with Errc::timed_out, then the rest is
    // as when a handler of serve ends, in the background: what is queued is sent, then FIN, and the peer has five
    // seconds. What the peer sends while nobody receives counts only as far as it is read ahead (64 KiB). Renewing it
    // costs nearly nothing. The latest call counts; Duration::max() takes it back. Throws std::bad_alloc.
    void close_when_idle(Duration duration, IdleMeans means = IdleMeans::nothing_received);
    // Resets the connection at once. Its operations end with Errc::closed.
    void abort() noexcept;

    // A handle for sending from any thread; see Outbox. The options are one for all of the Link's Outboxes, the latest
    // call's count. Throws std::bad_alloc.
    Outbox outbox(const OutboxOptions& options);
    // The same with a high-water mark of `limit` bytes; a post that would pass it resets the Link.
    Outbox outbox(std::size_t limit = std::size_t{1} << 20);

    Result<Address> peer() const noexcept;
    Result<Address> local() const noexcept;
    // One system call, on any thread. operation_not_supported on unix sockets, Errc::closed once it is closed.
    Result<TcpInfo> tcp_info() const noexcept;
    unsigned home() const noexcept;  // the index of its worker

    explicit operator bool() const noexcept { return state_ != nullptr; }

private:
    friend class ConnectOp;
    friend class AcceptOp;
    friend class Listener;
    friend class detail::FrameSource;
    explicit Link(detail::LinkState* state) noexcept : state_(state) {}
    detail::LinkState* state() const noexcept {
        CHAINRING_REQUIRE(state_, "an empty Link was used");
        return state_;
    }
    void drop() noexcept;

    detail::LinkState* state_ = nullptr;
};

// See Link::connect.
class [[nodiscard]] ConnectOp : detail::TimedWaiter, public detail::Limited<ConnectOp> {
    friend class detail::Limited<ConnectOp>;
    friend class detail::Stoppable<ConnectOp>;

public:
    ConnectOp(Result<Address> to, const SocketOptions& options) noexcept;
    ConnectOp(const ConnectOp&) = delete;
    ConnectOp& operator=(const ConnectOp&) = delete;
    ~ConnectOp();
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }
    Result<Link> await_resume() noexcept;

private:
    struct Attempt;  // the operation in flight; a block of its own, for connecting is rare and frames are dear
    friend struct detail::LinkReports;
    bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    static void end_early(detail::Waiter& waiter, detail::Wake why) noexcept;
    void accept_success() noexcept;
    void end_attempt(detail::Worker& worker) noexcept;

    Address to_;
    SocketOptions options_;
    std::error_code error_;
    int fd_ = -1;
    detail::Limit limit_;
    std::unique_ptr<Attempt> attempt_;
};

CHAINRING_END_NAMESPACE
