// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/worker.hpp"

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/sim/host.hpp"

#include <algorithm>
#include <thread>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

thread_local Worker* current_worker = nullptr;

constexpr unsigned tick_bits = 24;

std::uint32_t ticks_of(Instant instant) noexcept {
    return static_cast<std::uint32_t>(static_cast<std::uint64_t>(instant.time_since_epoch().count()) >> tick_bits);
}

}  // namespace

Worker* Worker::current() noexcept {
    return current_worker;
}

Duration Worker::ticks_ago(std::uint32_t ticks) const noexcept {
    return Duration(std::int64_t{ticks_of(backend_->coarse_now()) - ticks} << tick_bits);
}

// ---- life

Worker::Worker(RuntimeState& runtime, unsigned index, std::unique_ptr<Backend> backend)
    : runtime_(runtime),
      index_(index),
      backend_(std::move(backend)),
      buffers_(backend_->buffers()),
      run_queue_(runtime.options.steal != Steal::never && runtime.options.workers > 1 ? &runtime.injection : nullptr),
      lingers_(runtime.may_spin || runtime.take_turns),
      wake_cost_(runtime.options.spin),
      learns_spin_(runtime.learn_spin) {
    buffers_.set_owner(*this);
    if (runtime.options.clock) renewals_.close();  // it costs nothing to read, and may be advanced before a pass ends
}

Worker::~Worker() = default;

void Worker::attach() {
    backend_->attach();
}

Worker::Turn::Turn(Worker* worker) noexcept : outer_(std::exchange(current_worker, worker)) {}

Worker::Turn::~Turn() {
    current_worker = outer_;
}

void Worker::run() {
    const Turn turn(this);
    begin();
    while (!may_exit()) {
        run_tasks();
        finish_pass();
    }
    end();
}

void Worker::begin() {
    if (!runtime_.host) runtime_.safepoint.arrive(index_);  // where one thread plays all, each is at its safepoint
}

void Worker::run_tasks() noexcept {
    bump(passes_);
    publish_counters();
    if (runtime_.safepoint.wanted()) runtime_.safepoint.stop_here(index_);
    const Instant about = backend_->coarse_now();
    ticks_ = ticks_of(about);
    if (ticks_ - trimmed_ >= ticks_between_trims) [[unlikely]]
        trim();
    take_inbox();
    stamp_renewals();  // of receives that have come home: before the expiry looks at what they have renewed
    if (timers_.may_expire(after(about, Backend::coarse_lag))) timers_.expire(now());
    resume_tasks();
    stamp_renewals();
}

void Worker::trim() noexcept {
    trimmed_ = ticks_;
    if (index_ == 0) trim_frames();
}

void Worker::end() noexcept {
    // A foreign thread that has pushed the last node may still be about to wake us. Acquire: pairs with its leaving.
    while (guests_.load(std::memory_order_acquire) > 0) std::this_thread::yield();
    backend_->detach();
    buffers_.collect();
    publish_counters();
    orphan_retired();
    runtime_.safepoint.leave(index_);
    if (index_ != 0) runtime_.worker_left();
}

void Worker::publish_counters() noexcept {
    completions_.store(backend_->completions(), std::memory_order_relaxed);
    lent_.store(buffers_.lent(), std::memory_order_relaxed);
    in_flight_.store(backend_->in_flight(), std::memory_order_relaxed);
}

WorkerMetrics Worker::metrics() const noexcept {
    const auto read = [](const Counter& counter) { return counter.load(std::memory_order_relaxed); };
    WorkerMetrics metrics;
    metrics.passes = read(passes_);
    metrics.resumed = read(resumed_);
    metrics.completions = read(completions_);
    metrics.parks = read(parks_);
    metrics.wakes = read(wakes_);
    metrics.inbox = read(taken_);
    metrics.starved = read(starvings_);
    metrics.spilled = read(spilled_);
    metrics.links = links();
    metrics.buffers_lent = read(lent_);
    metrics.operations = read(in_flight_);
    metrics.steals = read(steals_);
    metrics.injected = read(injected_);
    return metrics;
}

// ---- the pass

void Worker::take_inbox() noexcept {
    for (InboxNode* node = inbox_.take_all(); node;) {
        InboxNode* next = node->next;  // run() may free the node or queue it elsewhere
        bump(taken_);
        node->run(*node);
        node = next;
    }
    if (runtime_.injection.size() > 0) take_injected(task_budget / 2);
    if (buffers_.any_returned()) buffers_.collect();
    look_at_stop();
}

void Worker::resume_tasks() noexcept {
    if (run_queue_.shared()) {
        run_queue_.publish();
        share_load();
    }
    resuming_ = true;
    if (runtime_.host) [[unlikely]]
        resume_in_any_order(*runtime_.host);
    else
        resume_in_order();
    resuming_ = false;
    last_woken_ = nullptr;
}

inline void Worker::resume_in_order() noexcept {
    const bool shared = run_queue_.shared();
    // What others could take is worth a look at the clock.
    const bool measure = shared && runtime_.options.steal == Steal::overloaded && run_queue_.size() > 1;
    const Instant start = measure ? std::chrono::steady_clock::now() : Instant();
    const auto resume_all = [this](auto pop) noexcept {
        unsigned resumed = 0;
        for (; resumed < task_budget; ++resumed) {
            TaskContext* task = pop(run_queue_);
            if (!task) break;
            resume(*task);
        }
        return resumed;
    };
    const unsigned resumed = shared ? resume_all([](RunQueue& queue) noexcept { return queue.pop_where_shared(); })
                                    : resume_all([](RunQueue& queue) noexcept { return queue.pop_own(); });
    bump(resumed_, resumed);
    if (measure && resumed > 0) note_cost(std::chrono::steady_clock::now() - start, resumed);
}

// In the simulated world: which task is next, and how many, is the seed's choice.
void Worker::resume_in_any_order(sim::Host& host) noexcept {
    for (unsigned left = host.choose_budget(task_budget); left > 0; --left) {
        TaskContext* task = host.choose_task(run_queue_);
        if (!task) break;
        host.before_resume(*this, *task);
        host.after_resume(*this, *task, resume(*task));
        bump(resumed_);
    }
}

inline bool Worker::resume(TaskContext& task) noexcept {
    task.transfers = 0;
    task.leaf = nullptr;  // its frame may go while the task runs
    task.set_worker(*this);
    running_.store(&task, std::memory_order_relaxed);
    if (!task.resume) [[unlikely]]
        if (!(task.resume = Child::of(task).begin())) return ended(task);
    task.resume.resume();  // afterwards the task may be anywhere
    if (left_behind_) [[unlikely]]
        return clear_up();
    left_task();
    return false;
}

// What the task has left: its end, or what is known of an exception.
bool Worker::clear_up() noexcept {
    left_behind_ = false;
    if (ended_) return ended(*std::exchange(ended_, nullptr));
    left_task();
    exception_trace_.clear();
    return false;
}

bool Worker::ended(TaskContext& task) noexcept {
    Child::of(task).clear();  // users' destructors: a part of the task, for reports
    left_task();
    if (!exception_trace_.empty()) [[unlikely]]
        exception_trace_.clear();
    task.scope->child_ended(Child::of(task));
    return true;
}

inline void Worker::left_task() noexcept {
    if (runtime_.safepoint.wanted()) [[unlikely]]
        runtime_.safepoint.stop_here(index_);
    running_.store(nullptr, std::memory_order_relaxed);
}

// ---- tasks

// With an affinity, or where others may steal. What becomes runnable between the running of tasks is shown to others
// all at once, when tasks run next.
void Worker::make_runnable_shared(TaskContext& task) noexcept {
    if (task.affinity != 0 || resuming_ || run_queue_.at_limit()) [[unlikely]]
        return make_runnable_otherwise(task);
    run_queue_.stage(task);
}

void Worker::make_runnable_otherwise(TaskContext& task) noexcept {
    if (task.affinity == index_ + 1) return run_queue_.push_own(task);
    last_woken_ = nullptr;  // this task may go away, and at its limit the queue shows all that was staged before
    if (task.affinity != 0) {
        send_to(*runtime_.workers[task.affinity - 1U], task);
    } else if (!resuming_) {
        run_queue_.stage(task);
    } else {
        run_queue_.push(task, running() != nullptr && running() != &task);
        if (runtime_.options.steal == Steal::eager) share_load();
    }
}

void schedule_new(TaskContext& task) noexcept {
    Worker& worker = *task.worker();
    Worker* here = Worker::current();
    if (here && &here->runtime() == &worker.runtime()) {
        here->make_runnable(task);
    } else if (task.affinity != 0) {
        send_to(worker, task);
    } else {
        worker.runtime().inject(task);
    }
}

void heed(Waiter& waiter) noexcept {
    TaskContext& task = *waiter.task;
    if ((task.request.asked() && !task.noticed) || waiter.stopped.load(std::memory_order_seq_cst)) task.tell_worker();
}

void send_to(Worker& worker, TaskContext& task) noexcept {
    send_to(worker, task, [](InboxNode& node) noexcept { Worker::current()->make_runnable(TaskContext::of(node)); });
}

void send_to(Worker& worker, TaskContext& task, void (*arrive)(InboxNode&) noexcept) noexcept {
    RunNode& node = task;
    node.run = arrive;
    worker.post(node);
}

std::coroutine_handle<> end_task(TaskContext& task) noexcept {
    task.worker()->task_ended(task);
    return std::noop_coroutine();
}

void schedule_local(TaskContext& task, std::coroutine_handle<> handle) noexcept {
    task.resume = handle;
    task.worker()->make_runnable(task);
}

// ---- limits

void Worker::renew_by_clock(RenewedTimer& timer, const Limit& limit) noexcept {
    stamp_renewals();
    if (renewals_.full())
        timers_.renew(timer, limit.from(now()));
    else
        renewals_.add(timer, limit);
}

void Worker::renew_now(RenewedTimer& timer, Duration duration) noexcept {
    stamp_renewals();
    timers_.renew(timer, now() + duration);
}

void Worker::cancel(RenewedTimer& timer) noexcept {
    stamp_renewals();
    timers_.cancel(timer);
}

void Worker::stamp_renewals() noexcept {
    if (!renewals_.empty()) renewals_.stamp(timers_, now());
}

// ---- starvation

void Worker::starve(StarvedNode& node, void (*feed)(StarvedNode&) noexcept) noexcept {
    feed_ = feed;
    if (node.starved) return;
    bump(starvings_);
    node.starved = true;
    // One that was fed in this pass, and has found too little, keeps its place in front of those that were not.
    const bool again = node.fed_in == pass();
    node.previous_starved = again ? last_refused_ : starved_tail_;
    node.next_starved = again ? (last_refused_ ? last_refused_->next_starved : starved_head_) : nullptr;
    (node.previous_starved ? node.previous_starved->next_starved : starved_head_) = &node;
    (node.next_starved ? node.next_starved->previous_starved : starved_tail_) = &node;
    if (again) {
        last_refused_ = &node;
        ++refused_;
    }
    buffers().set_starving(true);
}

void Worker::unstarve(StarvedNode& node) noexcept {
    if (!node.starved) return;
    node.starved = false;
    if (last_refused_ == &node) last_refused_ = node.previous_starved;
    (node.previous_starved ? node.previous_starved->next_starved : starved_head_) = node.next_starved;
    (node.next_starved ? node.next_starved->previous_starved : starved_tail_) = node.previous_starved;
    if (!starved_head_) buffers().set_starving(false);
}

// After the sends of this pass were submitted: the kernel then gives the buffers of those back before it fills others.
// A receiver may take many, so that feeding as many as there are buffers would have most of them ask in vain. As many
// are fed as were not refused the last time, and twice as many when none was.
void Worker::feed_starved() noexcept {
    const unsigned buffers_in = buffers().available();
    if (buffers_in == 0) return;
    feed_most_ = refused_ > 0 ? std::max(1U, fed_ - std::min(fed_, refused_)) : std::max(feed_most_, 2 * fed_);
    refused_ = 0;
    last_refused_ = nullptr;
    for (fed_ = 0; fed_ < std::min(feed_most_, buffers_in) && starved_head_; ++fed_) {
        StarvedNode& node = *starved_head_;
        unstarve(node);
        node.fed_in = pass();
        feed_(node);
    }
}

// ---- stop

bool Worker::follow_stop() noexcept {
    const auto phase = runtime_.phase.load(std::memory_order_acquire);
    bool changed = false;
    if (phase >= RuntimeState::Phase::draining && !draining_) {
        draining_ = changed = true;
        stop_resources(Resource::Stop::drain);
    }
    if (phase >= RuntimeState::Phase::cancelling && !cancelling_) {
        cancelling_ = changed = true;
        stop_resources(Resource::Stop::cancel);
    }
    if (!finished_ && runtime_.finishing.load(std::memory_order_acquire)) {
        finished_ = changed = true;
        stop_resources(Resource::Stop::finished);
    }
    return changed;
}

void Worker::stop_resources(Resource::Stop stop) noexcept {
    for (Resource* resource = live_; resource;) {
        Resource* next = resource->next_;  // a resource may end itself, never another
        resource->on_stop(stop);
        resource = next;
    }
}

void Worker::orphan_retired() noexcept {
    while (Resource* resource = retired_) {
        resource->unlink();
        // release: the last handle, wherever it is dropped, sees everything that home did. After this it may be gone.
        resource->orphaned_.store(true, std::memory_order_release);
    }
}

}  // namespace detail
CHAINRING_END_NAMESPACE
