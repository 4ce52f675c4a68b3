// SPDX-License-Identifier: BSL-1.0
// TaskContext: one per spawned task, and what the scheduler moves. It is a base of the promise of the task's outermost
// coroutine, Child. Thread rules: `next` belongs to whichever queue holds the task; the rest is touched only by the
// worker that the task belongs to, except the fields that the owning Scope guards with its mutex (marked "scope").
//
// Waiter: one suspension of a task that something else may end. Completion, timeout, cancel and close meet at its
// claim word: whoever moves it from `none` to a reason has won, stores the outcome and schedules the task; the others
// leave it alone. A Waiter lives in the frame of the suspended coroutine, so it outlives every contender that
// still holds it: an operation in the kernel is awaited to its terminal completion before the winner schedules.
#pragma once

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
enum class WaitKind : std::uint8_t {
    other,
    sleep,
    join,
    handle,
    event,
    semaphore,
    mutex,
    latch,
    channel,
    accept,
    connect,
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

// What the owning Scope notes, under its mutex, of a CancelNode on its way to the child's worker.
enum class CancelPost : std::uint8_t {
    none,
    posted,  // the node is in the inbox
    ended,   // and the task has ended meanwhile; the node's handler frees it
};

class TaskContext : public RunNode, public CancelNode {
public:
    Worker* worker = nullptr;           // the worker that resumes it
    std::coroutine_handle<> resume;     // what to resume next
    Waiter* waiter = nullptr;           // what it waits on, while suspended in an operation
    FrameNode* leaf = nullptr;          // the innermost frame while suspended in an operation; null while it runs
    Scope* open_scopes = nullptr;       // the scopes that this task has made and not yet joined, newest first
    const char* name = nullptr;         // given by name_this_task(); for reports
    Instant deadline = Instant::max();  // every await of the task ends by then; see Deadline

    Scope* scope = nullptr;               // the nursery that the task belongs to; constant
    TaskContext* sibling_next = nullptr;  // scope: list of the nursery's children
    TaskContext* sibling_prev = nullptr;  // scope

    std::uint32_t since = 0;                    // when it was last suspended, in Worker::ticks()
    std::uint8_t transfers = 0;                 // symmetric transfers since the loop resumed the task
    bool cancelled = false;                     // level-triggered: every await that begins from now on ends at once
    std::uint8_t shields : 7 = 0;               // shielded regions that it is in
    bool cancelled_behind_shield : 1 = false;   // `cancelled` once the last of them ends
    CancelPost cancel_post = CancelPost::none;  // scope
};

// After this many symmetric transfers in a row a task goes through the run queue: GCC makes them tail calls only at
// -O2, so that an unbounded chain of them would overflow the stack in a user's debug build.
inline constexpr std::uint8_t max_transfers = 64;

// Puts the task at the tail of its worker's run queue, to be resumed at `handle`. On the task's worker only.
void schedule_local(TaskContext& task, std::coroutine_handle<> handle) noexcept;

// The handle to transfer control to, or the noop coroutine when the task has to go through the run queue first.
inline std::coroutine_handle<> transfer(TaskContext& task, std::coroutine_handle<> handle) noexcept {
    if (++task.transfers < max_transfers) [[likely]]
        return handle;
    schedule_local(task, handle);
    return std::noop_coroutine();
}

}  // namespace detail
CHAINRING_END_NAMESPACE
