// SPDX-License-Identifier: BSL-1.0
// UringBackend's second half: it enters the kernel, which takes what was submitted, and delivers what has completed.
#include "runtime/src/uring/uring_backend.hpp"

#include <cerrno>
#include <chrono>
#include <unistd.h>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// ---- entering the kernel

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

bool UringBackend::may_sleep() const noexcept {
    if (cancelled_ || pending_head_ || io_uring_cq_ready(&ring_) > 0) return false;
    return !silent_head_ || !(expected_ || pool_->scarce());
}

// ---- silent sends

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

// ---- completions

void UringBackend::deliver_cancelled() noexcept {
    while (cancelled_) {
        Operation& operation = *cancelled_;
        cancelled_ = operation.next_pending;
        deliver(operation, Completion{-ECANCELED, false, nullptr});
    }
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

}  // namespace detail
CHAINRING_END_NAMESPACE
