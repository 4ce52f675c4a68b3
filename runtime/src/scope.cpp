// SPDX-License-Identifier: BSL-1.0
#include <chainring/runtime.hpp>
#include <chainring/scope.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/worker.hpp"

#include <mutex>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

namespace detail {

void Child::threw(std::exception_ptr exception) noexcept {
    scope->child_threw(*this, std::move(exception));
}

// Takes note of the request to end: the flag, or the shield's note, and the scopes that the request reaches.
void TaskContext::notice() noexcept {
    noticed = true;
    if (shields > 0)
        behind_shield = true;
    else
        cancelled = true;
    for (Scope* made = open_scopes; made; made = made->outer_)
        if (made->shields_ == 0) made->cancel();  // those made inside of a shield are not reached
}

void TaskContext::tell_worker() noexcept {
    if (cancel_post.post()) worker()->post(static_cast<CancelNode&>(*this));
}

// The asker keeps the wait registered, and with it the task.
void stop_wait(Waiter& waiter, TaskContext& task) noexcept {
    waiter.stopped.store(true, std::memory_order_seq_cst);  // before the look at waiting(), as in CancelRequest
    if (task.request.waiting()) task.tell_worker();
}

}  // namespace detail

// ---- life

Scope::Scope(const char* file, unsigned line) noexcept : runtime_(nullptr), owner_(nullptr), file_(file), line_(line) {
    detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker && worker->running(), "a Scope is made by a task of a Runtime");
    runtime_ = &worker->runtime().runtime;
    owner_ = worker->running();
    outer_ = std::exchange(owner_->open_scopes, this);
    cancelled_ = owner_->is_cancelled();
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

// On this worker; from a thread that is none of the runtime's, wherever there is room.
void Scope::launch(detail::Child& task) noexcept {
    detail::Worker* here = detail::Worker::current();
    const bool colleague = here && &here->runtime() == runtime_->state_.get();
    task.set_worker(colleague ? *here : *runtime_->state_->workers.front());
    adopt(task);
}

void Scope::launch_on(detail::Child& task, unsigned worker) noexcept {
    auto& workers = runtime_->state_->workers;
    CHAINRING_REQUIRE(worker < workers.size(), "spawn_on: there is no worker of that index");
    task.set_worker(*workers[worker]);
    task.affinity = static_cast<std::uint16_t>(worker + 1);
    adopt(task);
}

void Scope::adopt(detail::TaskContext& task) noexcept {
    task.scope = this;
    task.deadline = deadline_;
    static_cast<detail::CancelNode&>(task).run = deliver_cancel;
    {
        const std::lock_guard lock(mutex_);
        CHAINRING_REQUIRE(!joined_, "a Scope that was joined takes no more children");
        if (cancelled_) task.request.ask();  // before it begins: its first await finds it
        task.sibling_next = first_child_;
        if (first_child_) first_child_->sibling_prev = &task;
        first_child_ = &task;
        had_children_ = true;
        count(1);
        if (running_ >= limit_) {
            detail::RunNode& node = task;
            (held_last_ ? held_last_->next : held_first_) = &node;
            held_last_ = &node;
            return;
        }
        ++running_;
    }
    detail::schedule_new(task);
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
        detail::schedule_new(*next);
    }
}

// With the mutex held: the next child that may begin, counted as running.
detail::TaskContext* Scope::take_held() noexcept {
    if (!held_first_ || running_ >= limit_) return nullptr;
    detail::InboxNode& node = *held_first_;
    held_first_ = node.next;
    if (!held_first_) held_last_ = nullptr;
    node.next = nullptr;
    ++running_;
    return &detail::TaskContext::of(node);
}

void Scope::child_threw(detail::TaskContext& child, std::exception_ptr exception) noexcept {
    RuntimeState& state = *runtime_->state_;
    if (!owner_ && !child.is_main) {
        state.report_root_exception(child, std::move(exception));
        return;
    }
    fail(std::move(exception));
}

// The first exception of a child, or of the spawning, is what join() rethrows.
void Scope::fail(std::exception_ptr exception) noexcept {
    {
        const std::lock_guard lock(mutex_);
        if (!first_) first_ = std::move(exception);
    }
    cancel();
}

// Counts a child that there is not, so that the end of the others is not the end of everything. Taking that back ends
// nothing.
void Scope::hold(bool on) noexcept {
    const std::lock_guard lock(mutex_);
    count(on ? 1 : std::size_t{0} - 1);
}

// With the mutex held.
void Scope::count(std::size_t more) noexcept {
    children_.store(children_.load(std::memory_order_relaxed) + more, std::memory_order_release);
}

// On the worker where it ended: takes it from the list and, unless a cancel is on its way to it, frees it.
void Scope::child_ended(detail::Child& child) noexcept {
    RuntimeState& state = *runtime_->state_;
    if (child.is_main) [[unlikely]]
        state.main_has_ended();
    if (child.named) [[unlikely]]
        state.forget_name(child);
    detail::TaskContext* next = nullptr;
    Join* joiner = nullptr;
    bool freed = false, last = false;
    {
        const std::lock_guard lock(mutex_);
        (child.sibling_prev ? child.sibling_prev->sibling_next : first_child_) = child.sibling_next;
        if (child.sibling_next) child.sibling_next->sibling_prev = child.sibling_prev;
        --running_;
        next = take_held();
        freed = child.cancel_post.end();  // no asker finds it any more
        if (freed) last = count_down(joiner);
    }
    if (next) detail::schedule_new(*next);  // it counts as a child, so the scope is still there
    if (freed) child.free();                // else the cancel's handler does
    if (last) none_left(joiner, state);
}

// One whose cancel has come after its end, on the worker that the cancel came to.
void Scope::child_freed() noexcept {
    RuntimeState& state = *runtime_->state_;
    Join* joiner = nullptr;
    bool last = false;
    {
        const std::lock_guard lock(mutex_);
        last = count_down(joiner);
    }
    if (last) none_left(joiner, state);
}

// With the mutex held. True: that was the last one, for which `joiner` (null: none yet) or, at the root, the runtime
// waits. Whoever has no joiner to wake must not touch the scope once the mutex is free.
bool Scope::count_down(Join*& joiner) noexcept {
    count(std::size_t{0} - 1);
    if (children_.load(std::memory_order_relaxed) != 0) return false;
    if (!owner_) joined_ = true;
    joiner = joiner_;
    return joiner || !owner_;
}

// The joiner waits for exactly this, so the scope is there until it has been woken.
void Scope::none_left(Join* joiner, RuntimeState& state) noexcept {
    if (!joiner) {
        state.finish();
        return;
    }
    joiner->wake();
}

// ---- join

Scope::Join::Join(Scope& scope) noexcept : scope_(scope) {
    waits_in = detail::WaitKind::join;
    // The children are cancelled, by whoever cancels the owner or by the limit; the join waits for their end.
    cancel = [](detail::Waiter& waiter, detail::Wake why) noexcept {
        if (why != detail::Wake::timed_out) return;
        Scope& joined = static_cast<Join&>(waiter).scope_;
        if (joined.size() == 0) return;  // the wake is on its way
        joined.timed_out_ = true;
        joined.cancel();
    };
}

bool Scope::begin_join(Join& join, detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    CHAINRING_REQUIRE(node.context == owner_, "a Scope is joined by the task that made it");
    CHAINRING_REQUIRE(!joined_, "a Scope is joined once");
    CHAINRING_REQUIRE(!joiner_, "a Scope is joined once");
    node.context->is_cancelled();  // the children are to know it
    join.begin_exactly(node, handle, join.limit_);
    bool waits = false;
    {
        const std::lock_guard lock(mutex_);
        joiner_ = &join;
        waits = children_.load(std::memory_order_relaxed) != 0;
    }
    if (waits) return true;
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

// With the mutex held a child in the list cannot go.
void Scope::cancel() noexcept {
    const std::lock_guard lock(mutex_);
    if (std::exchange(cancelled_, true)) return;
    for (detail::TaskContext* child = first_child_; child; child = child->sibling_next)
        if (child->request.ask()) child->tell_worker();
}

void Scope::free_ended(detail::TaskContext& task) noexcept {
    Scope& scope = *task.scope;
    detail::Child::of(task).free();
    scope.child_freed();
}

// On a worker where the task waits, or has waited when the node was posted; see cancel_state.hpp.
void Scope::deliver_cancel(detail::InboxNode& node) noexcept {
    auto& task = static_cast<detail::TaskContext&>(static_cast<detail::CancelNode&>(node));
    detail::Worker& here = *detail::Worker::current();
    do {
        if (!task.cancel_post.begin_look()) {
            free_ended(task);
            return;
        }
        // Only the worker where a wait began ends it, so a task that waits here stays while this looks. waiting() is
        // read before worker(): it was written after it.
        if (!task.request.waiting()) continue;
        if (detail::Worker* where = task.worker(); where != &here) {
            if (!task.cancel_post.hand_on())
                free_ended(task);
            else
                where->post(node);
            return;
        }
        const bool fresh = task.request.asked() && !task.noticed;
        if (fresh) task.notice();
        detail::Waiter& waiter = *task.waiter;
        if ((fresh && task.cancelled) || waiter.stopped.load(std::memory_order_seq_cst))
            waiter.cancel(waiter, detail::Wake::cancelled);
    } while (!task.cancel_post.end_look());
}

CHAINRING_END_NAMESPACE
