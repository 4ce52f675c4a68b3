// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/uring/uring_backend.hpp"

#include <chainring/trap.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

[[noreturn]] void refuse(int error, const char* what) {
    throw std::system_error(error, std::system_category(), what);
}

bool is_unawaited(const Operation& operation) noexcept {
    return operation.kind == OperationKind::send && static_cast<const SendOperation&>(operation).unawaited;
}

}  // namespace

// ---- life

UringBackend::UringBackend(const BackendOptions& options) : OsBackend(options.clock, false) {
    io_uring_params params{};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                   IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
                   IORING_SETUP_R_DISABLED;
    // Multishot operations complete more often than they are submitted.
    params.cq_entries = std::max(4096U, options.ring_entries * 8);
    if (const int error = io_uring_queue_init_params(options.ring_entries, &ring_, &params))
        refuse(-error, "chainring: io_uring");
    ring_open_ = true;
    io_uring_ring_dontfork(&ring_);
    try {
        pool_ = std::make_unique<UringPool>(ring_, options.recv_buffers, options.recv_buffer_size);
    } catch (...) {
        io_uring_queue_exit(&ring_);
        throw;
    }
}

UringBackend::~UringBackend() {
    if (ring_open_) io_uring_queue_exit(&ring_);
}

void UringBackend::attach() {
    // liburing 2.3's shared library does not export io_uring_enable_rings.
    if (::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) < 0)
        refuse(errno, "chainring: io_uring enable");
    io_uring_register_ring_fd(&ring_);  // saves a lookup per enter; without it all goes on as well
    arm_wake();
}

void UringBackend::detach() noexcept {
    detaching_ = true;
    if (wake_armed_) {
        if (io_uring_sqe* entry = take_entry(0)) {
            io_uring_prep_cancel64(entry, wake_tag, 0);
            io_uring_sqe_set_data64(entry, ignored_tag);
        }
    }
    while (wake_armed_) wait(Instant::max());
    io_uring_queue_exit(&ring_);
    ring_open_ = false;
}

void UringBackend::arm_wake() noexcept {
    io_uring_sqe* entry = take_entry(0);
    if (!entry) return;
    io_uring_prep_poll_multishot(entry, wake_fd(), POLLIN);
    io_uring_sqe_set_data64(entry, wake_tag);
    wake_armed_ = true;
}

// ---- submission

// Each enter frees entries, which are counted here when the last count is used up.
bool UringBackend::make_room(unsigned keep) noexcept {
    room_ = io_uring_sq_space_left(&ring_);
    if (room_ > keep) return true;
    pool_->publish();
    io_uring_submit(&ring_);
    room_ = io_uring_sq_space_left(&ring_);
    return room_ > keep;
}

io_uring_sqe* UringBackend::take_entry(unsigned keep) noexcept {
    if (!has_room(keep)) [[unlikely]]
        return nullptr;
    --room_;
    return io_uring_get_sqe(&ring_);  // some releases of liburing clear the entry here, others where it is filled
}

// In an entry that has_room() knows of. It is written as a whole: what it held, and what liburing makes of a new one,
// does not matter.
inline void UringBackend::prepare_silent(SendOperation& send) noexcept {
    --room_;
    io_uring_sqe& entry = ring_.sq.sqes[ring_.sq.sqe_tail++ & ring_.sq.ring_mask];
    std::memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_SEND;
    entry.flags = IOSQE_CQE_SKIP_SUCCESS;
    entry.fd = send.endpoint->fd;
    entry.addr = reinterpret_cast<std::uintptr_t>(send.data);
    entry.len = send.size;
    entry.msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL;
    entry.user_data = tag_of(send);
    keep_silent(send);
}

bool UringBackend::prepare(Operation& operation) noexcept {
    io_uring_sqe* entry = take_entry(reserved);
    if (!entry) return false;
    const int fd = operation.endpoint->fd;
    switch (operation.kind) {
        case OperationKind::accept:
            if (operation.once)
                io_uring_prep_accept(entry, fd, nullptr, nullptr, SOCK_CLOEXEC);
            else
                io_uring_prep_multishot_accept(entry, fd, nullptr, nullptr, SOCK_CLOEXEC);
            break;
        case OperationKind::recv:
            io_uring_prep_recv(entry, fd, nullptr, 0, 0);  // multishot wants length 0 and a buffer group
            entry->ioprio |= IORING_RECV_MULTISHOT;
            entry->flags |= IOSQE_BUFFER_SELECT;
            entry->buf_group = UringPool::group;
            // sqe->optlen, which shares its place with file_index: the total after which the kernel ends the multishot.
            operation.limited = burst_limited_;
            if (operation.limited) entry->file_index = operation.burst * Operation::recv_burst;
            break;
        case OperationKind::send: {
            auto& send = static_cast<SendOperation&>(operation);
            const int flags = MSG_NOSIGNAL | (send.nowait ? MSG_DONTWAIT : MSG_WAITALL);
            if (send.gathered)
                io_uring_prep_sendmsg(entry, fd, send.message, static_cast<unsigned>(flags));
            else
                io_uring_prep_send(entry, fd, send.data, send.size, flags);
            break;
        }
        case OperationKind::connect: {
            auto& connect = static_cast<ConnectOperation&>(operation);
            io_uring_prep_connect(entry, fd, connect.address, connect.address_size);
            break;
        }
    }
    io_uring_sqe_set_data64(entry, tag_of(operation));
    return true;
}

void UringBackend::submit(Operation& operation) noexcept {
    begin(operation);
    if (!pending_head_ && prepare(operation)) [[likely]]
        return;
    wait_for_room(operation);
}

void UringBackend::submit_unawaited(SendOperation& send) noexcept {
    begin(send);
    if (pending_head_ || !has_room(reserved)) [[unlikely]]
        return wait_for_room(send);
    prepare_silent(send);
}

void UringBackend::wait_for_room(Operation& operation) noexcept {
    operation.pending = true;
    operation.next_pending = nullptr;
    if (pending_tail_)
        pending_tail_->next_pending = &operation;
    else
        pending_head_ = &operation;
    pending_tail_ = &operation;
}

void UringBackend::prepare_pending() noexcept {
    while (pending_head_) {
        Operation& operation = *pending_head_;
        Operation* const next = operation.next_pending;
        if (is_unawaited(operation)) {
            if (!has_room(reserved)) return;
            prepare_silent(static_cast<SendOperation&>(operation));
        } else if (!prepare(operation)) {
            return;
        }
        pending_head_ = next;
        if (!pending_head_) pending_tail_ = nullptr;
        operation.pending = false;
    }
}

void UringBackend::cancel(Operation& operation) noexcept {
    if (!operation.armed || operation.cancel_requested) return;
    if (operation.pending) {
        Operation* previous = nullptr;
        for (Operation* at = pending_head_; at != &operation; at = at->next_pending) previous = at;
        (previous ? previous->next_pending : pending_head_) = operation.next_pending;
        if (pending_tail_ == &operation) pending_tail_ = previous;
        operation.pending = false;
        operation.cancel_requested = true;
        operation.next_pending = cancelled_;
        cancelled_ = &operation;
        return;
    }
    io_uring_sqe* entry = take_entry(0);
    CHAINRING_REQUIRE(entry, "the kernel takes no submissions, not even a cancel");
    operation.cancel_requested = true;
    io_uring_prep_cancel64(entry, tag_of(operation), 0);
    io_uring_sqe_set_data64(entry, ignored_tag);
}

std::unique_ptr<Backend> make_uring_backend(const BackendOptions& options) {
    return std::make_unique<UringBackend>(options);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
