// SPDX-License-Identifier: BSL-1.0
#include <chainring/runtime.hpp>
#include <chainring/scope.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/worker.hpp"

#include <utility>

CHAINRING_BEGIN_NAMESPACE

namespace detail {

void Child::promise_type::FinalAwaiter::await_suspend(std::coroutine_handle<>) const noexcept {
    task.worker->task_ended(task);  // the loop frees the frame once the coroutine is off the stack
}

void Child::promise_type::unhandled_exception() noexcept {
    scope->child_threw(*this, std::current_exception());
}

// Posts the task's CancelNode: its handler looks at what was asked for. The caller keeps the wait registered, so the
// task, and with it its scope, is there.
void stop_wait(Waiter& waiter) noexcept {
    waiter.stopped.store(true, std::memory_order_release);  // read by the handler
    Scope& scope = *waiter.task->scope;
    const std::lock_guard lock(scope.mutex_);
    scope.post_cancel(*waiter.task);
}

}  // namespace detail

// ---- life

Scope::Scope(const char* file, unsigned line) noexcept : runtime_(nullptr), owner_(nullptr), file_(file), line_(line) {
    detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker && worker->running(), "a Scope is made by a task of a Runtime");
    runtime_ = &worker->runtime().runtime;
    owner_ = worker->running();
    outer_ = std::exchange(owner_->open_scopes, this);
    cancelled_ = owner_->cancelled;
    shields_ = owner_->shields;
    deadline_ = owner_->deadline;
}

Scope::Scope(RootTag, Runtime& runtime) noexcept : runtime_(&runtime), owner_(nullptr), file_(nullptr), line_(0) {}

Scope::~Scope() {
    if (!owner_) return;
    if (had_children_ && !joined_)
        detail::trap("a Scope was left without join; co_await scope.join() on every way out. It was made here", file_,
                     line_);
    Scope** at = &owner_->open_scopes;
    while (*at != this) at = &(*at)->outer_;
    *at = outer_;
}

// ---- children

void Scope::launch(detail::Child child, unsigned worker) noexcept {
    detail::TaskContext& task = child.task();
    auto& workers = runtime_->state_->workers;
    if (worker == current_worker) {
        detail::Worker* here = detail::Worker::current();
        worker = here && &here->runtime() == runtime_->state_.get() ? here->index() : 0;
    }
    CHAINRING_REQUIRE(worker < workers.size(), "spawn_on: there is no worker of that index");
    task.worker = workers[worker].get();
    task.scope = this;
    task.resume = detail::Child::outermost(task);
    task.deadline = deadline_;
    static_cast<detail::CancelNode&>(task).run = deliver_cancel;
    {
        const std::lock_guard lock(mutex_);
        CHAINRING_REQUIRE(!joined_, "a Scope that was joined takes no more children");
        task.cancelled = cancelled_;
        task.sibling_next = first_child_;
        if (first_child_) first_child_->sibling_prev = &task;
        first_child_ = &task;
        had_children_ = true;
        children_.fetch_add(1, std::memory_order_relaxed);
        if (running_ >= limit_) {
            detail::RunNode& node = task;
            (held_last_ ? held_last_->next : held_first_) = &node;
            held_last_ = &node;
            return;
        }
        ++running_;
    }
    detail::schedule(task);
}

void Scope::limit(std::size_t children) noexcept {
    CHAINRING_REQUIRE(children > 0, "a Scope's limit is at least one child");
    for (bool first = true;; first = false) {
        detail::TaskContext* next = nullptr;
        {
            const std::lock_guard lock(mutex_);
            if (first) limit_ = children;
            next = take_held();
        }
        if (!next) return;
        detail::schedule(*next);
    }
}

// With the mutex held: the next child that may begin, counted as running.
detail::TaskContext* Scope::take_held() noexcept {
    if (!held_first_ || running_ >= limit_) return nullptr;
    auto& node = static_cast<detail::RunNode&>(*held_first_);
    held_first_ = node.next;
    if (!held_first_) held_last_ = nullptr;
    node.next = nullptr;
    ++running_;
    return &static_cast<detail::TaskContext&>(node);
}

void Scope::child_threw(detail::TaskContext& child, std::exception_ptr exception) noexcept {
    RuntimeState& state = *runtime_->state_;
    if (!owner_ && &child != state.main_task) {
        state.report_root_exception(child, std::move(exception));
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        if (!first_) first_ = std::move(exception);
    }
    cancel();
}

bool Scope::unlink(detail::TaskContext& child) noexcept {
    detail::TaskContext* next = nullptr;
    {
        const std::lock_guard lock(mutex_);
        if (child.cancel_post == detail::CancelPost::posted) {
            child.cancel_post = detail::CancelPost::ended;
            return false;
        }
        (child.sibling_prev ? child.sibling_prev->sibling_next : first_child_) = child.sibling_next;
        if (child.sibling_next) child.sibling_next->sibling_prev = child.sibling_prev;
        --running_;
        next = take_held();
    }
    if (next) detail::schedule(*next);  // it counts as a child, so the scope is still there
    return true;
}

void Scope::child_ended() noexcept {
    const bool root = owner_ == nullptr;
    RuntimeState& state = *runtime_->state_;
    const std::size_t before = children_.fetch_sub(1, std::memory_order_acq_rel);
    if (before == (joining | 1)) {
        // The joiner waits for exactly this, so the scope is still there until it has been woken.
        detail::Worker& worker = *joiner_->task->worker;
        if (detail::Worker::current() == &worker)
            joiner_->finish();
        else
            worker.post(*joiner_);
    } else if (root && before == 1) {
        {
            const std::lock_guard lock(mutex_);
            joined_ = true;
        }
        state.finish();
    }
}

// ---- join

Scope::Join::Join(Scope& scope) noexcept : scope_(scope) {
    waits_in = detail::WaitKind::join;
    // The children are cancelled, by whoever cancels the owner or by the limit; the join waits for their end.
    cancel = [](detail::Waiter& waiter, detail::Wake why) noexcept {
        if (why != detail::Wake::timed_out) return;
        Scope& joined = static_cast<Join&>(waiter).scope_;
        joined.timed_out_ = true;
        joined.cancel();
    };
    run = [](detail::InboxNode& node) noexcept { static_cast<Join&>(node).finish(); };
}

bool Scope::begin_join(Join& join, detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    CHAINRING_REQUIRE(node.context == owner_, "a Scope is joined by the task that made it");
    CHAINRING_REQUIRE(!joined_, "a Scope is joined once");
    CHAINRING_REQUIRE(!joiner_, "a Scope is joined once");
    joiner_ = &join;
    join.begin_exactly(node, handle, join.limit_);
    if ((children_.fetch_or(joining, std::memory_order_acq_rel) & ~joining) != 0) return true;
    join.stay();
    return false;
}

void Scope::end_join() {
    std::exception_ptr first;
    {
        const std::lock_guard lock(mutex_);
        joined_ = true;
        first = std::exchange(first_, nullptr);
    }
    if (first) std::rethrow_exception(first);
}

// ---- cancel

void Scope::cancel() noexcept {
    const std::lock_guard lock(mutex_);
    if (std::exchange(cancelled_, true)) return;
    for (detail::TaskContext* child = first_child_; child; child = child->sibling_next) post_cancel(*child);
}

// With the mutex held, so that the child is still there.
void Scope::post_cancel(detail::TaskContext& child) noexcept {
    if (child.cancel_post != detail::CancelPost::none) return;  // its handler has not run yet: it will see this as well
    child.cancel_post = detail::CancelPost::posted;
    child.worker->post(static_cast<detail::CancelNode&>(child));
}

// On the child's worker.
void Scope::deliver_cancel(detail::InboxNode& node) noexcept {
    auto& task = static_cast<detail::TaskContext&>(static_cast<detail::CancelNode&>(node));
    bool ended = false;
    bool cancelled = false;
    {
        const std::lock_guard lock(task.scope->mutex_);
        ended = std::exchange(task.cancel_post, detail::CancelPost::none) == detail::CancelPost::ended;
        cancelled = task.scope->cancelled_;
    }
    if (ended) {
        task.worker->finish_task(task);
        return;
    }
    if (cancelled) detail::Worker::cancel_task(task);
    if (detail::Waiter* waiter = task.waiter; waiter && waiter->stopped.load(std::memory_order_acquire))
        waiter->cancel(*waiter, detail::Wake::cancelled);
}

CHAINRING_END_NAMESPACE
