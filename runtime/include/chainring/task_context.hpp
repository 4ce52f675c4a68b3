// SPDX-License-Identifier: BSL-1.0
// TaskContext: one per spawned task, and what the scheduler moves. It is a base of what Scope::spawn makes, Child.
// Thread rules: a task is owned by the worker that runs it, or, while it waits, by the worker where
// the wait began: that one alone ends the wait. A runnable task is owned by the queue that holds it. The fields are the
// owner's, except those that the owning Scope guards with its mutex ("scope") and those marked "any thread".
//
// Waiter: one suspension of a task that something else may end. Completion, timeout, cancel and close meet at its
// claim word: whoever moves it from `none` to a reason has won, stores the outcome and schedules the task; the others
// leave it alone. A Waiter lives in the frame of the suspended coroutine, so it outlives every contender that
// still holds it: an operation in the kernel is awaited to its terminal completion before the winner schedules.
#pragma once

#include <chainring/cancel_state.hpp>
#include <chainring/claim.hpp>
#include <chainring/config.hpp>
#include <chainring/errc.hpp>
#include <chainring/frame.hpp>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>

CHAINRING_BEGIN_NAMESPACE

using Duration = std::chrono::nanoseconds;
using Instant = std::chrono::steady_clock::time_point;

class Scope;

namespace detail {

class Worker;
class TaskContext;

// The error of a wait that ended early; none for completed. `closed` stands for whatever the object itself has to say.
inline std::error_code error_of(Wake why) noexcept {
    switch (why) {
        case Wake::none:
        case Wake::completed:
            return {};
        case Wake::timed_out:
            return make_error_code(Errc::timed_out);
        case Wake::cancelled:
            return make_error_code(Errc::cancelled);
        case Wake::shutting_down:
            return make_error_code(Errc::shutting_down);
        case Wake::closed:
            break;
    }
    return make_error_code(Errc::closed);
}

// What a task waits in; for reports (runtime/src/task_report.cpp has their names).
// Two bytes: with what follows it in a Waiter it is set by one store.
enum class WaitKind : std::uint16_t {
    other,
    sleep,
    join,
    handle,
    offload,
    event,
    semaphore,
    mutex,
    latch,
    channel,
    token_bucket,
    outbox,
    accept,
    connect,
    resolve,
    recv,
    recv_exact,
    recv_until,
    send,
    shutdown_write,
    close
};

struct Waiter {
    TaskContext* task = nullptr;
    // Asks the wait to end for `why` (cancelled or shutting_down). Runs on the task's worker. It either claims and
    // schedules at once, or starts what will end in the operation's terminal completion.
    void (*cancel)(Waiter&, Wake why) noexcept = nullptr;
    WaitKind waits_in = WaitKind::other;
    std::atomic<bool> stopped{false};  // a StopSource asks for its end: set by any thread, read by the task's worker
    ClaimWord<std::atomic> claim;      // contenders: completion, timer, cancel, close; the winner schedules

    bool try_claim(Wake why) noexcept { return claim.try_claim(why); }
    Wake outcome() const noexcept { return claim.outcome(); }
};

// A node of a worker's inbox: work that any thread hands to that worker. `run` is called once, on the worker.
struct InboxNode {
    InboxNode* next = nullptr;
    void (*run)(InboxNode&) noexcept = nullptr;
};

struct RunNode : InboxNode {};     // brings a task to its worker to be resumed
struct CancelNode : InboxNode {};  // brings a cancel to it

class TaskContext : public RunNode, public CancelNode {
public:
    // What a suspension stores is not side by side: GCC 12 would put two pointers together in a vector register first.
    std::coroutine_handle<> resume;     // what to resume next; null: the task has not begun
    Instant deadline = Instant::max();  // every await of the task ends by then; see Deadline
    FrameNode* leaf = nullptr;          // the innermost frame while suspended in an operation; null while it runs
    std::uint32_t since = 0;            // when it was last suspended, in Worker::ticks()

    std::uint16_t affinity = 0;      // 0: it may be stolen; else 1 + the index of the worker that alone resumes it
    std::uint8_t transfers = 0;      // symmetric transfers since the loop resumed the task
    bool cancelled = false;          // level-triggered: every await that begins from now on ends at once
    std::uint8_t shields : 5 = 0;    // shielded regions that it is in
    bool behind_shield : 1 = false;  // `cancelled` once the last of them ends
    bool noticed : 1 = false;        // the request to end has been taken note of
    bool named : 1 = false;          // RuntimeState knows its name
    bool is_main = false;            // constant
    CancelPost<> cancel_post;        // any thread
    CancelRequest<> request;         // any thread
    Waiter* waiter = nullptr;        // what it waits on, while suspended in an operation

private:
    std::atomic<Worker*> worker_{nullptr};

public:
    // Up to here is what each await touches; from here on what it does not.
    Scope* open_scopes = nullptr;         // the scopes that this task has made and not yet joined, newest first
    Scope* scope = nullptr;               // the nursery that the task belongs to; constant
    TaskContext* sibling_next = nullptr;  // scope: list of the nursery's children
    TaskContext* sibling_prev = nullptr;  // scope

    // The worker that resumed it last, or will, or where it waits. Written by that worker (and by launch); read by
    // other threads to post to a task that waits, which does not change it.
    Worker* worker() const noexcept { return worker_.load(std::memory_order_relaxed); }
    void set_worker(Worker& worker) noexcept { worker_.store(&worker, std::memory_order_relaxed); }

    // The task that is queued, or was sent, as this node, its RunNode.
    static TaskContext& of(InboxNode& node) noexcept { return static_cast<TaskContext&>(static_cast<RunNode&>(node)); }

    // For the task itself, or its worker while it waits: whether awaits are to end at once.
    bool is_cancelled() noexcept {
        if (request.asked() && !noticed) [[unlikely]]
            notice();
        return cancelled;
    }
    void notice() noexcept;  // takes note of the request: the flag, and the scopes that it has opened

    // Any thread that keeps the task alive, after it has asked for something: has the task's worker look at it.
    void tell_worker() noexcept;
};

// After this many symmetric transfers in a row a task goes through the run queue: GCC makes them tail calls only at
// -O2, so that an unbounded chain of them would overflow the stack in a user's debug build.
inline constexpr std::uint8_t max_transfers = 64;

// Puts the running task, the caller's, at the tail of its worker's run queue, to be resumed at `handle`. From then on
// it may run on another worker.
void schedule_local(TaskContext& task, std::coroutine_handle<> handle) noexcept;

// The task's own coroutine has ended and is suspended for good: the worker's loop frees the task once control is back
// there, which the returned noop coroutine brings about.
std::coroutine_handle<> end_task(TaskContext& task) noexcept;

// The handle to transfer control to, or the noop coroutine when the task has to go through the run queue first.
inline std::coroutine_handle<> transfer(TaskContext& task, std::coroutine_handle<> handle) noexcept {
    if (++task.transfers < max_transfers) [[likely]]
        return handle;
    schedule_local(task, handle);
    return std::noop_coroutine();
}

}  // namespace detail
CHAINRING_END_NAMESPACE
