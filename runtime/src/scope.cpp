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
    task_.scope->fail(std::current_exception());
}

}  // namespace detail

Scope::Scope(const char* file, unsigned line) noexcept : runtime_(nullptr), owner_(nullptr), file_(file), line_(line) {
    detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker && worker->running(), "a Scope is made by a task of a Runtime");
    runtime_ = &worker->runtime().runtime;
    owner_ = worker->running();
    outer_ = std::exchange(owner_->open_scopes, this);
    cancelled_ = owner_->cancelled;
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

void Scope::start(detail::Child child, unsigned worker) noexcept {
    detail::TaskContext& task = child.task();
    auto& workers = runtime_->state_->workers;
    if (worker == current_worker) {
        detail::Worker* here = detail::Worker::current();
        worker = here && &here->runtime() == runtime_->state_.get() ? here->index() : 0;
    }
    CHAINRING_REQUIRE(worker < workers.size(), "spawn_on: there is no worker of that index");
    task.worker = workers[worker].get();
    task.scope = this;
    task.resume = task.outermost;
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
    }
    detail::schedule(task);
}

bool Scope::begin_join(Join& join, detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    CHAINRING_REQUIRE(node.context == owner_, "a Scope is joined by the task that made it");
    CHAINRING_REQUIRE(!joined_, "a Scope is joined once");
    CHAINRING_REQUIRE(!joiner_, "a Scope is joined once");
    join.cancel = [](detail::Waiter&, detail::Wake) noexcept {};  // the children are cancelled; the join waits for them
    detail::suspend(join, node, handle);
    joiner_ = &join;
    return (children_.fetch_or(joining, std::memory_order_acq_rel) & ~joining) != 0;
}

void Scope::end_join() {
    owner_->waiter = nullptr;
    std::exception_ptr first;
    {
        const std::lock_guard lock(mutex_);
        joined_ = true;
        first = std::exchange(first_, nullptr);
    }
    if (first) std::rethrow_exception(first);
}

void Scope::fail(std::exception_ptr exception) noexcept {
    {
        const std::lock_guard lock(mutex_);
        if (!first_) first_ = std::move(exception);
    }
    cancel();
}

void Scope::cancel() noexcept {
    const std::lock_guard lock(mutex_);
    if (std::exchange(cancelled_, true)) return;
    for (detail::TaskContext* child = first_child_; child; child = child->sibling_next) post_cancel(*child);
}

// With the mutex held, so that the child is still there.
void Scope::post_cancel(detail::TaskContext& child) noexcept {
    if (std::exchange(child.cancel_posted, true)) return;
    child.worker->post(static_cast<detail::CancelNode&>(child));
}

// On the child's worker.
void Scope::deliver_cancel(detail::InboxNode& node) noexcept {
    auto& task = static_cast<detail::TaskContext&>(static_cast<detail::CancelNode&>(node));
    bool ended = false;
    {
        const std::lock_guard lock(task.scope->mutex_);
        task.cancel_posted = false;
        ended = std::exchange(task.finished_early, false);
    }
    if (ended)
        task.worker->finish_task(task);
    else
        detail::Worker::cancel_task(task);
}

bool Scope::unlink(detail::TaskContext& child) noexcept {
    const std::lock_guard lock(mutex_);
    if (child.cancel_posted) {
        child.finished_early = true;
        return false;
    }
    (child.sibling_prev ? child.sibling_prev->sibling_next : first_child_) = child.sibling_next;
    if (child.sibling_next) child.sibling_next->sibling_prev = child.sibling_prev;
    return true;
}

void Scope::child_ended() noexcept {
    const bool root = owner_ == nullptr;
    RuntimeState& state = *runtime_->state_;
    const std::size_t before = children_.fetch_sub(1, std::memory_order_acq_rel);
    if (before == (joining | 1)) {
        detail::schedule(*joiner_->task);  // the joiner waits for exactly this, so the scope is still there
    } else if (root && before == 1) {
        {
            const std::lock_guard lock(mutex_);
            joined_ = true;
        }
        state.finish();
    }
}

CHAINRING_END_NAMESPACE
