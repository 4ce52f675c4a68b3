// SPDX-License-Identifier: BSL-1.0
// Operations: what a worker asks of its backend, and what comes back. An Operation is owned by what issued it (a Link's
// slot, a listener, an awaiter in a coroutine frame) and must stay where it is from submit() until its terminal
// completion (Completion::more is 0). Owner thread only.
#pragma once

#include <chainring/config.hpp>

#include <cstddef>
#include <cstdint>
#include <sys/socket.h>
#include <sys/uio.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

struct Segment;
struct Operation;

// One end of a connection, or a listening socket, as a backend knows it.
struct Endpoint {
    int fd = -1;
    // What follows is the epoll backend's: which operations wait, and what the last edges said.
    bool registered = false;
    bool readable = false;
    bool writable = false;
    bool short_reads = false;  // a short read does not mean "drained"
    bool queued = false;       // in the list of endpoints to be tried in the next poll
    Operation* reader = nullptr;
    Operation* writer = nullptr;
    Endpoint* next_queued = nullptr;
    Endpoint* prev_queued = nullptr;
};

enum class OperationKind : std::uint8_t {
    accept,   // multishot (unless `once`): a completion for each connection, its result the new descriptor
    recv,     // multishot: a completion for each lent segment; result 0 is end of stream, -ENOBUFS an empty pool
    send,     // result: bytes taken by the kernel; less than asked only when `nowait` or on cancel
    connect,  // result 0, or the error
};

struct Completion {
    int result = 0;              // as the kernel has it: negative errno on failure
    std::uint32_t more = 0;      // not 0: a multishot operation goes on. As wide as its place: no padding to mask out
    Segment* segment = nullptr;  // recv: lent to the receiver of this completion
};

struct Operation {
    Operation(OperationKind operation_kind, Endpoint* at) noexcept : endpoint(at), kind(operation_kind) {}

    Endpoint* endpoint;
    void (*complete)(Operation&, Completion) noexcept = nullptr;
    Operation* next_pending = nullptr;  // while it waits for room in the submission queue, or is silent
    OperationKind kind;
    bool armed = false;             // from submit() to the terminal completion
    bool cancel_requested = false;  // since the last submit()
    bool pending = false;           // in the list of those that wait for room (sim: for the next poll)
    bool limited : 1 = false;       // uring: this submission carried its burst as a limit
    bool once : 1 = false;          // accept: ends with its first connection
    bool silent : 1 = false;        // uring: the kernel tells a failure of it only
    std::uint8_t burst = 1;         // recv: how many times recv_burst
    std::uint16_t generation = 0;   // counts submissions: a completion of an earlier one is told apart

    // A multishot recv may end by itself (more is 0, no error) after about `burst` times this many bytes, where the
    // kernel can (Linux 6.17): the one who wants more arms it again. It bounds the read-ahead of a Link that nobody
    // receives from.
    static constexpr std::uint32_t recv_burst = 64 * 1024;
};

struct SendOperation : Operation {
    explicit SendOperation(Endpoint* at) noexcept : Operation(OperationKind::send, at) {}
    union {
        const void* data = nullptr;
        msghdr* message;  // when `gathered`: several pieces
    };
    bool gathered = false;
    // True: take what fits now and complete. False: complete when all bytes are taken (or on error or cancel).
    bool nowait = false;
    std::uint32_t size = 0;   // bytes in all
    std::uint32_t taken = 0;  // epoll, sim: bytes that the kernel has taken so far
    bool told = false;        // unawaited: complete() is called when all has gone, too
    // The bytes, when they are lent and whoever sent them has gone on (Backend::submit_unawaited); `nowait` then.
    Segment* unawaited = nullptr;

    // epoll, sim: notes that the kernel took `bytes` more and moves the message's pieces past them.
    void advance(std::size_t bytes) noexcept;
};

struct ConnectOperation : Operation {
    explicit ConnectOperation(Endpoint* at) noexcept : Operation(OperationKind::connect, at) {}
    const sockaddr* address = nullptr;  // stays valid until the completion
    socklen_t address_size = 0;
    bool begun = false;  // epoll, sim: connect(2) was called
};

}  // namespace detail
CHAINRING_END_NAMESPACE
