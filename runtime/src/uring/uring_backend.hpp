// SPDX-License-Identifier: BSL-1.0
// UringBackend: one io_uring per worker, SINGLE_ISSUER | DEFER_TASKRUN, with multishot accept and recv over a provided
// buffer ring.
//
// The ring is made disabled, by the thread that makes the runtime, so that a refusal is known before any worker
// runs; attach() enables it, which makes the calling thread its only submitter (io_uring_setup(2)).
//
// user_data names an operation by address and generation: (address << 16) | generation. A completion whose generation
// is not the operation's is a stale one: what it carries (a descriptor, a buffer) is given back. Completion of cancel
// requests, of the alarm (alarm.hpp) and of the wake poll have numbers of their own.
//
// Submission queue full: the queue is handed to the kernel at once. If that does not make room either, operations wait
// in an intrusive list; `reserved` entries are kept for cancels, so that ending never has to wait for beginning.
//
// An unawaited send is silent: the kernel makes a completion only when it fails (IOSQE_CQE_SKIP_SUCCESS). It never
// waits, so the enter that hands it over has settled it (MSG_DONTWAIT: a full socket is a failure; MSG_WAITALL: so is a
// part, whose size the completion tells). After that enter, silence is success. One enter so can hand an answer over
// and sleep until the next request; the buffers of what was sent are back after the sleep, so it does not sleep on
// many, nor when anybody waits for the outcome.
#pragma once

#include "runtime/src/os_backend.hpp"
#include "runtime/src/uring/alarm.hpp"
#include "runtime/src/uring/uring_pool.hpp"

#include <cstdint>
#include <liburing.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class UringBackend final : public OsBackend {
public:
    explicit UringBackend(const BackendOptions& options);
    ~UringBackend() override;

    std::string_view name() const noexcept override { return "io_uring"; }
    void attach() override;
    void detach() noexcept override;
    void submit(Operation& operation) noexcept override;
    void submit_unawaited(SendOperation& send) noexcept override;
    void cancel(Operation& operation) noexcept override;
    void poll() noexcept override;
    void wait(Instant deadline) noexcept override;
    bool spin() noexcept override;
    BufferPool& buffers() noexcept override { return *pool_; }

private:
    static constexpr unsigned reserved = 16;  // submission entries that only cancels and the wake poll may take
    static constexpr std::uint64_t ignored_tag = 0;
    static constexpr std::uint64_t alarm_tag = 1;
    static constexpr std::uint64_t wake_tag = 2;  // the last one of ours

    static std::uint64_t tag_of(const Operation& operation) noexcept {
        return (reinterpret_cast<std::uintptr_t>(&operation) << 16) | operation.generation;
    }
    static Operation* operation_of(std::uint64_t tag) noexcept { return reinterpret_cast<Operation*>(tag >> 16); }

    bool work_pending() const noexcept;  // the kernel has completions to make or to move: an enter is needed
    io_uring_sqe* take_entry(unsigned keep) noexcept;
    bool has_room(unsigned keep) noexcept { return room_ > keep || make_room(keep); }
    bool make_room(unsigned keep) noexcept;
    void prepare_silent(SendOperation& send) noexcept;
    bool prepare(Operation& operation) noexcept;
    void wait_for_room(Operation& operation) noexcept;
    void prepare_pending() noexcept;
    void arm_wake() noexcept;
    void before_enter() noexcept;
    void hand_over() noexcept;
    bool set_alarm(Instant deadline, Duration left) noexcept;
    void sleep() noexcept;
    void sleep_for(Duration time) noexcept;
    void deliver_cancelled() noexcept;
    void keep_silent(SendOperation& send) noexcept {
        send.silent = true;
        send.next_pending = nullptr;
        (silent_tail_ ? silent_tail_->next_pending : silent_head_) = &send;
        silent_tail_ = &send;
    }
    bool silent_settled() const noexcept;
    void deliver_silent(bool settled) noexcept;
    bool may_sleep() const noexcept;
    void reap() noexcept;
    void on_entry(const io_uring_cqe& entry) noexcept;
    void on_own_entry(const io_uring_cqe& entry) noexcept;
    bool was_refused(Operation& operation, Completion& completion) noexcept;
    void drop_stale(const Operation& operation, const io_uring_cqe& entry) noexcept;

    io_uring ring_{};
    unsigned room_ = 0;  // submission entries that are free at least
    std::unique_ptr<UringPool> pool_;
    Alarm alarm_{alarm_tag, ignored_tag};
    Operation* pending_head_ = nullptr;  // wait for room in the submission queue, oldest first
    Operation* pending_tail_ = nullptr;
    Operation* cancelled_ = nullptr;    // cancelled while pending; completed in the next poll
    Operation* silent_head_ = nullptr;  // prepared, oldest first
    Operation* silent_tail_ = nullptr;
    bool ring_open_ = false;
    bool wake_armed_ = false;
    bool detaching_ = false;
    bool burst_limited_ = true;  // multishot receives carry a limit (Linux 6.17); until the kernel refuses it
    bool burst_proven_ = false;  // it did not
};

}  // namespace detail
CHAINRING_END_NAMESPACE
