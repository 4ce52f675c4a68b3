// SPDX-License-Identifier: BSL-1.0
// Worker: one thread's share of a Runtime: run queue, inbox, timers, backend. Everything in it belongs to its thread,
// except post(), wake_if_parked() and the counters.
//
// One pass of the loop:
//   1 take in the inbox, a share of the injected tasks, and the buffers that other threads returned
//   2 fire the timers that are due
//   3 resume runnable tasks, at most `task_budget`, then read the clock for the limits that they have begun
//   4 flush what they wrote (one gathered send for each Link); arm those again that found no receive buffer
//   5 hand everything to the backend and deliver completions: without waiting while tasks are runnable; else look for
//     tasks elsewhere (injected ones, then those of other workers), else spin for a while (with a CPU for each
//     worker) or let another one have the CPU (with fewer), else park
// A task that never stops yielding delays I/O, timers and posts by at most one budget.
#pragma once

#include <chainring/config.hpp>
#include <chainring/runtime.hpp>
#include <chainring/task_context.hpp>
#include <chainring/time.hpp>

#include "runtime/src/backend.hpp"
#include "runtime/src/inbox.hpp"
#include "runtime/src/park_state.hpp"
#include "runtime/src/renewals.hpp"
#include "runtime/src/resource.hpp"
#include "runtime/src/run_queue.hpp"
#include "runtime/src/task_report.hpp"
#include "runtime/src/timer_queue.hpp"
#include "runtime/src/wake_cost.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace sim {
class Host;
}

// Work to be done once at the end of the pass, before the backend is entered.
struct FlushNode {
    FlushNode* next_flush = nullptr;
    bool in_flush_list = false;
    void (*flush)(FlushNode&) noexcept = nullptr;
};

// A receiver that found the pool empty.
struct StarvedNode {
    StarvedNode* next_starved = nullptr;
    StarvedNode* previous_starved = nullptr;
    bool starved = false;
    std::uint32_t fed_in = 0;  // the pass in which it was armed again
};

class Worker {
public:
    static constexpr unsigned task_budget = 64;

    Worker(RuntimeState& runtime, unsigned index, std::unique_ptr<Backend> backend);
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    ~Worker();

    // The worker that the calling thread runs, or null. Not inlined: a thread-local address must not be kept across a
    // suspension.
    [[gnu::noinline]] static Worker* current() noexcept;

    // On the worker's thread: attach(), which throws std::system_error, then run(), which returns when the runtime has
    // finished and nothing lives here any more.
    void attach();
    void run();

    // What run() does, in parts, for the simulated world, where one thread plays every worker: begin(), then
    // run_tasks() (steps 1 to 3 of a pass), reap() (4 and 5; true: nothing is to be done, and park() follows), park()
    // (true: the worker has announced that it parks, and sleep() must follow) and sleep() until may_exit(), then end().
    // Anything may happen on other workers between two parts.
    void begin();
    void run_tasks() noexcept;
    bool reap() noexcept;
    bool park() noexcept;
    void sleep() noexcept;
    void end() noexcept;
    bool may_exit() const noexcept;

    // The calling thread is this worker's for as long as this lives.
    class Turn {
    public:
        explicit Turn(Worker* worker) noexcept;  // null: nobody's
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        ~Turn();

    private:
        Worker* outer_;
    };

    // Any thread. A thread that is no worker of this runtime counts itself while it posts: what it pushes may be the
    // end of the runtime, which must not go before the wake.
    void post(InboxNode& node) noexcept {
        const Guest guest(*this);
        inbox_.push(node);
        wake_if_parked();
    }
    bool wake_if_parked() noexcept {  // true: it was
        if (!park_.must_wake()) return false;
        wakes_.fetch_add(1, std::memory_order_relaxed);
        if (learns_spin_) wake_cost_.sent(std::chrono::steady_clock::now());
        backend_->wake();
        return true;
    }
    void force_wake() noexcept { backend_->wake(); }  // async-signal-safe
    WorkerMetrics metrics() const noexcept;
    unsigned index() const noexcept { return index_; }
    RuntimeState& runtime() const noexcept { return runtime_; }
    std::size_t links() const noexcept { return links_.load(std::memory_order_relaxed); }

    // The worker's thread from here on.
    // Here, or where its affinity says.
    void make_runnable(TaskContext& task) noexcept {
        if (run_queue_.shared() || task.affinity != 0) [[unlikely]]
            return make_runnable_shared(task);
        run_queue_.push_own(task);
    }
    // As resume(), by a completion. Until tasks run, more may be added to the outcome of last_woken().
    void wake(Waiter& waiter) noexcept;
    Waiter* last_woken() const noexcept { return last_woken_; }
    TaskContext* running() const noexcept { return running_.load(std::memory_order_relaxed); }
    void task_ended(TaskContext& task) noexcept {  // by the task's final suspension
        ended_ = &task;
        left_behind_ = true;
    }

    void flush_later(FlushNode& node) noexcept {
        if (node.in_flush_list) return;
        node.in_flush_list = true;
        node.next_flush = nullptr;
        (flush_tail_ ? flush_tail_->next_flush : flush_head_) = &node;
        flush_tail_ = &node;
    }
    // `feed` is called when buffers are back; it is the same for all nodes.
    void starve(StarvedNode& node, void (*feed)(StarvedNode&) noexcept) noexcept;
    void unstarve(StarvedNode& node) noexcept;
    void link_made() noexcept { links_.fetch_add(1, std::memory_order_relaxed); }
    void link_gone() noexcept { links_.fetch_sub(1, std::memory_order_relaxed); }
    void count_spill() noexcept { bump(spilled_); }

    Backend& backend() noexcept { return *backend_; }
    BufferPool& buffers() noexcept { return buffers_; }
    TimerQueue& timers() noexcept { return timers_; }
    // A RenewedTimer's deadline is set by a task that begins to wait (it then holds from the end of step 3), or at
    // once; whichever came last holds. It is cancelled before it goes.
    void renew(RenewedTimer& timer, const Limit& limit) noexcept {
        if (renewals_.full()) [[unlikely]]
            return renew_by_clock(timer, limit);
        renewals_.add(timer, limit);
    }
    // The same for where nothing may be called in between: the first is asked in time.
    bool may_note_renewal() const noexcept { return !renewals_.full(); }
    void note_renewal(RenewedTimer& timer, const Limit& limit) noexcept { renewals_.add(timer, limit); }
    void renew_now(RenewedTimer& timer, Duration duration) noexcept;
    void cancel(RenewedTimer& timer) noexcept;
    Instant now() const noexcept { return backend_->now(); }
    // The time of this pass for reports, in units of 2^24 ns (17 ms); wraps after two years.
    std::uint32_t ticks() const noexcept { return ticks_; }
    Duration ticks_ago(std::uint32_t ticks) const noexcept;  // from now; any thread while the worker is held
    const ExceptionTrace& exception_trace() const noexcept { return exception_trace_; }
    void note_exception(const FrameNode& frame) noexcept {
        exception_trace_.note(frame);
        left_behind_ = true;
    }
    bool draining() const noexcept { return draining_; }
    bool cancelling() const noexcept { return cancelling_; }

    // A stay of the calling thread with this worker; nothing when it is one of the runtime's own.
    class Guest {
    public:
        explicit Guest(Worker& host) noexcept : host_(is_colleague(host) ? nullptr : &host) {
            if (host_) host_->guests_.fetch_add(1, std::memory_order_relaxed);  // the push that follows releases it
        }
        Guest(const Guest&) = delete;
        Guest& operator=(const Guest&) = delete;
        ~Guest() {
            if (host_) host_->guests_.fetch_sub(1, std::memory_order_release);  // pairs with the leaving worker's look
        }

    private:
        static bool is_colleague(const Worker& host) noexcept {
            const Worker* here = current();
            return here && &here->runtime_ == &host.runtime_;
        }
        Worker* host_;
    };

private:
    friend class Resource;
    // Counters: written by the worker only (wakes_ and links_ aside), read by any thread.
    using Counter = std::atomic<std::uint64_t>;
    static void bump(Counter& counter, std::uint64_t by = 1) noexcept {
        counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
    }

    static constexpr std::uint32_t ticks_between_trims = 60;  // a second

    std::uint32_t pass() const noexcept { return static_cast<std::uint32_t>(passes_.load(std::memory_order_relaxed)); }
    [[gnu::cold]] void trim() noexcept;
    void make_runnable_shared(TaskContext& task) noexcept;
    [[gnu::noinline]] void make_runnable_otherwise(TaskContext& task) noexcept;
    void take_inbox() noexcept;
    void feed_starved() noexcept;
    void resume_tasks() noexcept;
    void resume_in_order() noexcept;
    void resume_in_any_order(sim::Host& host) noexcept;
    void renew_by_clock(RenewedTimer& timer, const Limit& limit) noexcept;
    void stamp_renewals() noexcept;
    void flush() noexcept;
    bool resume(TaskContext& task) noexcept;  // true: it has ended
    bool clear_up() noexcept;                 // so too
    bool ended(TaskContext& task) noexcept;   // true
    void left_task() noexcept;
    bool find_task() noexcept;
    bool take_injected(std::size_t most) noexcept;
    bool steal() noexcept;
    void share_load() noexcept;
    void note_cost(Duration duration, unsigned tasks) noexcept;
    bool linger() noexcept;  // true: there is something to do after all
    bool spin() noexcept;
    void give_way() noexcept;
    void woken() noexcept;
    bool nothing_arrived() const noexcept;
    bool look_at_stop() noexcept;  // true: it has changed something
    bool follow_stop() noexcept;
    void stop_resources(Resource::Stop stop) noexcept;
    void orphan_retired() noexcept;
    void publish_counters() noexcept;
    void finish_pass() noexcept;

    RuntimeState& runtime_;
    unsigned index_;
    std::unique_ptr<Backend> backend_;
    BufferPool& buffers_;  // the backend's
    TimerQueue timers_;
    Renewals renewals_;  // of this step 3

    RunQueue run_queue_;
    std::atomic<TaskContext*> running_{nullptr};  // the worker writes; a reporter that could not stop it reads
    Waiter* last_woken_ = nullptr;                // by a completion since tasks ran last
    std::uint32_t ticks_ = 0;
    std::uint32_t trimmed_ = 0;  // in ticks: when the recycled frames were last looked at
    ExceptionTrace exception_trace_;
    TaskContext* ended_ = nullptr;
    bool resuming_ = false;                  // in step 3
    bool left_behind_ = false;               // by the running task: one of the last two is to be looked at
    Duration task_cost_{0};                  // of late, for Steal::overloaded: falls slowly, rises at once
    const bool lingers_;                     // it spins or takes turns: constants of the runtime
    std::uint64_t next_turn_ = task_budget;  // others': when so many tasks have been resumed
    Instant turn_began_;                     // this worker's
    std::uint32_t turn_budgets_ = 1;
    std::uint32_t spins_to_skip_ = 0;
    std::uint32_t spin_backoff_ = 0;  // how many parks go without a spin after one that found nothing
    std::uint32_t victim_ = 0;        // whom to steal from first; goes round
    FlushNode* flush_head_ = nullptr;
    FlushNode* flush_tail_ = nullptr;
    StarvedNode* starved_head_ = nullptr;
    StarvedNode* starved_tail_ = nullptr;
    StarvedNode* last_refused_ = nullptr;  // of those fed in this pass who starve again; they are at the head
    unsigned refused_ = 0;                 // so many
    unsigned fed_ = 0;                     // the last time
    unsigned feed_most_ = 1;               // at a time
    void (*feed_)(StarvedNode&) noexcept = nullptr;
    Resource* live_ = nullptr;
    Resource* retired_ = nullptr;
    bool draining_ = false;
    bool cancelling_ = false;
    bool finished_ = false;

    Counter passes_{0}, resumed_{0}, completions_{0}, parks_{0}, taken_{0}, starvings_{0}, spilled_{0};
    Counter lent_{0}, in_flight_{0}, steals_{0}, injected_{0};
    std::atomic<std::size_t> links_{0};  // read by others to place new Links

    // Foreign threads inside of post() or a buffer's return. Not on the line of the counters, which the worker writes
    // all the time.
    alignas(64) std::atomic<unsigned> guests_{0};
    Counter wakes_{0};  // any thread adds
    WakeCost wake_cost_;
    const bool learns_spin_;  // the program leaves it to the worker how long it spins: as long as a wake takes of late
    Inbox<InboxNode> inbox_;
    ParkState<> park_;
};

// Makes a new task runnable: on this worker, where its affinity says, or, from a thread that is none of the runtime's,
// wherever there is room. Any thread.
void schedule_new(TaskContext& task) noexcept;

// Hands a task that is in no queue to another worker, to be resumed there, or to be treated as `arrive` does, on that
// worker.
void send_to(Worker& worker, TaskContext& task) noexcept;
void send_to(Worker& worker, TaskContext& task, void (*arrive)(InboxNode&) noexcept) noexcept;

// What every operation does when it begins to wait and when it ends; on the task's worker, `here`.

// True: the task was asked to end, some time ago or just now, or the wait was. heed() is to follow.
inline bool publish(Waiter& waiter, FrameNode& node, std::coroutine_handle<> handle, const Worker& here) noexcept {
    TaskContext& task = *node.context;
    waiter.task = &task;
    task.resume = handle;
    task.leaf = &node;
    task.waiter = &waiter;
    task.since = here.ticks();
    const bool asked = task.request.begin_wait();
    const bool stopped = waiter.stopped.load(std::memory_order_seq_cst);
    return asked | stopped;
}
// Has the task's worker look at what was asked between the look at the beginning of the await and now.
[[gnu::cold]] void heed(Waiter& waiter) noexcept;
inline void suspend(Waiter& waiter, FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (publish(waiter, node, handle, *node.context->worker())) [[unlikely]]
        heed(waiter);
}
// Takes a published wait back before the task has suspended.
inline void take_back(Waiter& waiter) noexcept {
    TaskContext& task = *waiter.task;
    task.request.end_wait();
    task.waiter = nullptr;
    task.leaf = nullptr;
}
inline void resume(Waiter& waiter) noexcept {
    TaskContext& task = *waiter.task;
    task.request.end_wait();
    task.waiter = nullptr;
    task.worker()->make_runnable(task);
}
inline void Worker::wake(Waiter& waiter) noexcept {
    last_woken_ = &waiter;  // make_runnable_otherwise() forgets one that another worker may see
    detail::resume(waiter);
}
// TimedWaiter's begin() and finish(), for where they are called all the time.
inline void suspend(TimedWaiter& waiter, FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept {
    suspend(waiter, node, handle);
    TaskContext& task = *waiter.task;
    if (!limit.given() && task.deadline == Instant::max()) [[likely]]
        return;
    const Instant end = earlier_of(limit, task);
    if (end != Instant::max()) task.worker()->timers().arm(waiter, end);
}
inline void finish(TimedWaiter& waiter) noexcept {
    if (waiter.armed()) waiter.task->worker()->timers().cancel(waiter);
    resume(waiter);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
