// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/worker.hpp"

#include <chainring/trap.hpp>

#include "runtime/src/runtime_state.hpp"

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

// ---- resources

Resource::Resource(Worker& home) noexcept : home_(&home), next_(home.live_) {
    if (next_) next_->previous_ = this;
    home.live_ = this;
}

Resource::~Resource() {
    if (!orphaned()) unlink();
}

void Resource::unlink() noexcept {
    Resource*& first = is_retired_ ? home_->retired_ : home_->live_;
    (previous_ ? previous_->next_ : first) = next_;
    if (next_) next_->previous_ = previous_;
    previous_ = nullptr;
}

void Resource::retire() noexcept {
    if (is_retired_) return;
    unlink();
    is_retired_ = true;
    next_ = home_->retired_;
    if (next_) next_->previous_ = this;
    home_->retired_ = this;
}

void Worker::orphan_retired() noexcept {
    while (Resource* resource = retired_) {
        resource->unlink();
        // release: the last handle, wherever it is dropped, sees everything that home did. After this it may be gone.
        resource->orphaned_.store(true, std::memory_order_release);
    }
}

// ---- life

Worker::Worker(RuntimeState& runtime, unsigned index, std::unique_ptr<Backend> backend)
    : runtime_(runtime), index_(index), backend_(std::move(backend)) {
    backend_->buffers().set_owner(*this);
}

Worker::~Worker() = default;

void Worker::attach() {
    backend_->attach();
}

void Worker::run() {
    Worker* const outer = std::exchange(current_worker, this);
    Safepoint& safepoint = runtime_.safepoint;
    safepoint.arrive(index_);
    while (!may_exit()) {
        if (safepoint.wanted()) safepoint.stop_here(index_);
        ticks_ = ticks_of(backend_->coarse_now());
        take_inbox();
        if (!timers_.empty()) timers_.expire(now());
        resume_tasks();
        stamp_renewals();
        flush();
        reap_or_park();
        bump(passes_);
        publish_counters();
    }
    // A foreign thread that has pushed the last node may still be about to wake us. Acquire: pairs with its leaving.
    while (guests_.load(std::memory_order_acquire) > 0) std::this_thread::yield();
    backend_->detach();
    buffers().collect();
    publish_counters();
    orphan_retired();
    safepoint.leave(index_);
    if (index_ != 0) runtime_.worker_left();
    current_worker = outer;
}

bool Worker::may_exit() const noexcept {
    return runtime_.finishing.load(std::memory_order_acquire) && !live_ && !ready_head_ && !flush_head_ &&
           backend_->in_flight() == 0 && inbox_.empty() && (index_ != 0 || runtime_.others_left());
}

void Worker::publish_counters() noexcept {
    completions_.store(backend_->completions(), std::memory_order_relaxed);
    lent_.store(backend_->buffers().lent(), std::memory_order_relaxed);
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
    buffers().collect();
    if (starved_head_) feed_starved();
    look_at_stop();
}

void Worker::resume_tasks() noexcept {
    for (unsigned left = task_budget; left > 0 && ready_head_; --left) {
        auto& task = static_cast<TaskContext&>(static_cast<RunNode&>(*ready_head_));
        ready_head_ = ready_head_->next;
        if (!ready_head_) ready_tail_ = nullptr;
        task.transfers = 0;
        task.leaf = nullptr;  // its frame may go while the task runs
        running_.store(&task, std::memory_order_relaxed);
        task.resume.resume();
        running_.store(nullptr, std::memory_order_relaxed);
        bump(resumed_);
        if (ended_) finish_task(*std::exchange(ended_, nullptr));
        if (runtime_.safepoint.wanted()) return;
    }
}

void Worker::flush() noexcept {
    while (flush_head_) {
        FlushNode& node = *flush_head_;
        flush_head_ = node.next_flush;
        if (!flush_head_) flush_tail_ = nullptr;
        node.in_flush_list = false;
        node.flush(node);
    }
}

void Worker::reap_or_park() noexcept {
    if (ready_head_) {
        backend_->poll();
        return;
    }
    if (may_exit()) return;
    if (runtime_.options.spin > Duration::zero() && !runtime_.options.clock && spin()) return;
    park();
}

// Real time, whatever the runtime's clock is; no longer than until the next timer.
bool Worker::spin() noexcept {
    backend_->poll();
    if (ready_head_ || flush_head_) return true;
    const Instant start = std::chrono::steady_clock::now();
    const Instant until = std::min(start + runtime_.options.spin, timers_.next());
    do {
        if (backend_->spin() || !nothing_arrived()) return true;
    } while (std::chrono::steady_clock::now() < until);
    return false;
}

// The second half of parking: looks at everything that another thread may have left before it saw the announcement.
bool Worker::nothing_arrived() const noexcept {
    const BufferPool& pool = backend_->buffers();
    return inbox_.empty() && !(starved_head_ && (pool.any_returned() || pool.available() > 0));
}

void Worker::park() noexcept {
    park_.announce();
    if (nothing_arrived() && !flush_head_ && !look_at_stop() && !may_exit() && !runtime_.safepoint.wanted()) {
        bump(parks_);
        backend_->wait(timers_.next());
        park_.running();
        return;
    }
    park_.running();
    backend_->poll();
}

// ---- tasks

void Worker::make_runnable(TaskContext& task) noexcept {
    RunNode& node = task;
    node.next = nullptr;
    (ready_tail_ ? ready_tail_->next : ready_head_) = &node;
    ready_tail_ = &node;
}

void Worker::finish_task(TaskContext& task) noexcept {
    Scope& scope = *task.scope;
    if (!exception_trace_.empty()) exception_trace_.clear();
    if (!scope.unlink(task)) return;  // the cancel that is on its way comes back here
    if (index_ == 0 && &task == runtime_.main_task) {
        runtime_.main_task = nullptr;
        runtime_.main_ended = true;  // this is worker 0: it looks at it in its next pass
    }
    Child::outermost(task).destroy();
    scope.child_ended();
}

void Worker::cancel_task(TaskContext& task) noexcept {
    if (task.cancelled || task.cancelled_behind_shield) return;
    const bool shielded = task.shields > 0;
    if (shielded)
        task.cancelled_behind_shield = true;
    else
        task.cancelled = true;
    for (Scope* scope = task.open_scopes; scope; scope = scope->outer_)
        if (scope->shields_ == 0) scope->cancel();  // those made inside of the shield are not reached
    if (task.waiter && !shielded) task.waiter->cancel(*task.waiter, Wake::cancelled);
}

void schedule(TaskContext& task) noexcept {
    Worker* here = Worker::current();
    if (here == task.worker) {
        here->make_runnable(task);
        return;
    }
    RunNode& run_node = task;
    run_node.run = [](InboxNode& node) noexcept {
        auto& arrived = static_cast<TaskContext&>(static_cast<RunNode&>(node));
        arrived.worker->make_runnable(arrived);
    };
    task.worker->post(run_node);
}

void schedule_local(TaskContext& task, std::coroutine_handle<> handle) noexcept {
    task.resume = handle;
    task.worker->make_runnable(task);
}

// ---- limits

// A ManualClock costs nothing to read, and may be advanced before this pass ends: each limit begins at once then.
void Worker::renew(RenewedTimer& timer, const Limit& limit) noexcept {
    if (runtime_.options.clock) {
        timers_.renew(timer, limit.from(now()));
        return;
    }
    if (renewals_.full()) stamp_renewals();
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

// ---- flush and starvation

void Worker::flush_later(FlushNode& node) noexcept {
    if (node.in_flush_list) return;
    node.in_flush_list = true;
    node.next_flush = nullptr;
    (flush_tail_ ? flush_tail_->next_flush : flush_head_) = &node;
    flush_tail_ = &node;
}

void Worker::starve(StarvedNode& node, void (*feed)(StarvedNode&) noexcept) noexcept {
    feed_ = feed;
    if (node.starved) return;
    bump(starvings_);
    node.starved = true;
    node.next_starved = nullptr;
    node.previous_starved = starved_tail_;
    (starved_tail_ ? starved_tail_->next_starved : starved_head_) = &node;
    starved_tail_ = &node;
    buffers().set_starving(true);
}

void Worker::unstarve(StarvedNode& node) noexcept {
    if (!node.starved) return;
    node.starved = false;
    (node.previous_starved ? node.previous_starved->next_starved : starved_head_) = node.next_starved;
    (node.next_starved ? node.next_starved->previous_starved : starved_tail_) = node.previous_starved;
    if (!starved_head_) buffers().set_starving(false);
}

// As many receivers are fed as there are buffers: one that finds none left starves again, behind the others.
void Worker::feed_starved() noexcept {
    for (unsigned buffers_in = buffers().available(); buffers_in > 0 && starved_head_; --buffers_in) {
        StarvedNode& node = *starved_head_;
        unstarve(node);
        feed_(node);
    }
}

// ---- stop

bool Worker::look_at_stop() noexcept {
    if (index_ == 0) runtime_.advance_stop();
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

}  // namespace detail
CHAINRING_END_NAMESPACE
