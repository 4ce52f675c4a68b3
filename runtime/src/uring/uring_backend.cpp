// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/uring/uring_backend.hpp"

#include <chainring/trap.hpp>

#include "runtime/src/sanitizers.hpp"

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

std::uint64_t tag_of(const Operation& operation) noexcept {
    return (reinterpret_cast<std::uintptr_t>(&operation) << 16) | operation.generation;
}

Operation* operation_of(std::uint64_t tag) noexcept {
    return reinterpret_cast<Operation*>(tag >> 16);
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

inline io_uring_sqe* UringBackend::take_entry(unsigned keep) noexcept {
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

inline bool UringBackend::prepare(Operation& operation) noexcept {
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

// ---- completion

bool UringBackend::work_pending() const noexcept {
    return (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

inline void UringBackend::before_enter() noexcept {
    if (pending_head_) [[unlikely]]
        prepare_pending();
    if (!wake_armed_ && !detaching_) [[unlikely]]
        arm_wake();  // there was no entry for it before
    pool_->publish();
}

inline void UringBackend::hand_over() noexcept {
    if (io_uring_sq_ready(&ring_) > 0)
        io_uring_submit_and_get_events(&ring_);
    else if (work_pending())
        io_uring_get_events(&ring_);
    reap();
}

void UringBackend::poll() noexcept {
    before_enter();
    hand_over();
}

void UringBackend::wait(Instant deadline) noexcept {
    before_enter();
    if (!may_sleep()) {
        hand_over();
        return;
    }
    // A covered deadline that has passed needs no look at the clock: the alarm's completion ends the sleep.
    if (alarm_.covers(deadline)) {
        sleep();
        return;
    }
    const Duration left = time_until(deadline);
    if (left <= Duration::zero())
        hand_over();
    else if (manual_time() || (alarm_.pays_for(deadline) && set_alarm(deadline, left)))
        sleep();
    else
        sleep_for(left);
}

bool UringBackend::set_alarm(Instant deadline, Duration left) noexcept {
    io_uring_sqe* entry = take_entry(reserved);
    if (entry) alarm_.set(*entry, deadline, left);
    return entry;
}

// Until something completes. Without a timeout liburing has a shorter way than io_uring_submit_and_wait_timeout.
inline void UringBackend::sleep() noexcept {
    const std::uint64_t before = completions();
    io_uring_submit_and_wait(&ring_, 1);
    reap();
    if (completions() == before) let_signals_in();  // -EINTR is told only where nothing was submitted
}

void UringBackend::sleep_for(Duration time) noexcept {
    __kernel_timespec timeout{};
    timeout.tv_sec = time / std::chrono::seconds(1);
    timeout.tv_nsec = (time % std::chrono::seconds(1)).count();
    io_uring_cqe* first = nullptr;
    if (io_uring_submit_and_wait_timeout(&ring_, &first, 1, &timeout, nullptr) == -EINTR) let_signals_in();
    reap();
}

bool UringBackend::spin() noexcept {
    if (io_uring_cq_ready(&ring_) == 0) {
        if (!work_pending()) return false;
        io_uring_get_events(&ring_);
    }
    reap();
    return true;
}

void UringBackend::deliver_cancelled() noexcept {
    while (cancelled_) {
        Operation& operation = *cancelled_;
        cancelled_ = operation.next_pending;
        deliver(operation, Completion{-ECANCELED, false, nullptr});
    }
}

bool UringBackend::may_sleep() const noexcept {
    if (cancelled_ || pending_head_ || io_uring_cq_ready(&ring_) > 0) return false;
    return !silent_head_ || !(expected_ || pool_->scarce());
}

// ---- silent sends

inline void UringBackend::keep_silent(SendOperation& operation) noexcept {
    operation.silent = true;
    operation.next_pending = nullptr;
    (silent_tail_ ? silent_tail_->next_pending : silent_head_) = &operation;
    silent_tail_ = &operation;
}

// The kernel has them all, and each failure is in the completion queue.
inline bool UringBackend::silent_settled() const noexcept {
    return io_uring_sq_ready(&ring_) == 0 &&
           !(__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW);
}

// Those that have failed were told by their completions: they leave the list in any case, as their owners may submit or
// free them from here on. The others have gone, when all are settled.
inline void UringBackend::deliver_silent(bool settled) noexcept {
    Operation* first = std::exchange(silent_head_, nullptr);
    silent_tail_ = nullptr;
    if (settled && !pending_head_) expected_ = false;
    unsigned untold = 0;
    while (first) {
        auto& send = static_cast<SendOperation&>(*first);
        first = first->next_pending;  // its owner may send again
        if (!send.silent) continue;
        if (!settled) [[unlikely]] {
            keep_silent(send);
            continue;
        }
        send.silent = false;
        if (send.told) [[unlikely]] {
            deliver(send, Completion{static_cast<int>(send.size), false, nullptr});
            continue;
        }
        send.armed = false;
        pool_->take_back(*std::exchange(send.unawaited, nullptr));
        ++untold;
    }
    note_ends(untold);
}

void UringBackend::reap() noexcept {
    deliver_cancelled();
    const bool settled = silent_head_ && silent_settled();  // before the tail is read
    // What completes meanwhile, in an enter that makes room, is there for the next call.
    const io_uring_cq& queue = ring_.cq;
    unsigned head = *queue.khead;
    const unsigned tail = io_uring_smp_load_acquire(queue.ktail);
    for (; head != tail; ++head) {
        // The next one's operation is another connection's, and that has not been touched for long.
        __builtin_prefetch(operation_of(queue.cqes[(head + 1) & queue.ring_mask].user_data), 1);
        on_entry(queue.cqes[head & queue.ring_mask]);
    }
    io_uring_smp_store_release(queue.khead, head);
    if (silent_head_) deliver_silent(settled);
}

inline void UringBackend::on_entry(const io_uring_cqe& entry) noexcept {
    const std::uint64_t tag = entry.user_data;
    if (tag <= wake_tag) [[unlikely]]
        return on_own_entry(entry);
    Operation& operation = *operation_of(tag);
    if (operation.generation != static_cast<std::uint16_t>(tag)) [[unlikely]] {
        drop_stale(operation, entry);
        return;
    }
    Completion completion{entry.res, (entry.flags & IORING_CQE_F_MORE) != 0, nullptr};
    if (entry.flags & IORING_CQE_F_BUFFER) {
        const unsigned index = entry.flags >> IORING_CQE_BUFFER_SHIFT;
        burst_proven_ = true;
        if (entry.res > 0) [[likely]]
            completion.segment = pool_->lend(index, static_cast<std::uint32_t>(entry.res));
        else
            pool_->take_back(*pool_->lend(index, 0));
    } else {
        if (entry.res == -EINVAL && was_refused(operation, completion)) [[unlikely]]
            return;
        operation.silent = false;
    }
    deliver(operation, completion);
}

void UringBackend::on_own_entry(const io_uring_cqe& entry) noexcept {
    if (entry.user_data == alarm_tag) return alarm_.went_off(entry.res);
    if (entry.user_data == ignored_tag || (entry.flags & IORING_CQE_F_MORE)) return;
    wake_armed_ = false;
    if (!detaching_) arm_wake();
}

// An older kernel, which has no limit for receives: true when the operation was submitted again without.
bool UringBackend::was_refused(Operation& operation, Completion& completion) noexcept {
    if (operation.kind != OperationKind::recv || !operation.limited || burst_proven_) return false;
    burst_limited_ = false;
    if (operation.cancel_requested) {
        completion.result = -ECANCELED;  // the cancel has found nothing to end
        return false;
    }
    if (!prepare(operation)) wait_for_room(operation);
    return true;
}

// Cannot happen while every slot waits for its terminal completions; if it ever does, nothing leaks.
void UringBackend::drop_stale(const Operation& operation, const io_uring_cqe& entry) noexcept {
    if (entry.flags & IORING_CQE_F_BUFFER) pool_->lend(entry.flags >> IORING_CQE_BUFFER_SHIFT, 0)->release();
    if (operation.kind == OperationKind::accept && entry.res >= 0) ::close(entry.res);
}

std::unique_ptr<Backend> make_uring_backend(const BackendOptions& options) {
    return std::make_unique<UringBackend>(options);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
