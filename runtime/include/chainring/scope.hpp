// SPDX-License-Identifier: BSL-1.0
// Scope: a nursery. It starts tasks (children), and the task that made it cannot go on past join() before they have all
// ended. There is no detach: what should outlive its creator is spawned in the runtime's root scope.
//
// - spawn(fn, args...) moves fn and its arguments into the child and starts fn(args...), a Task<>, on this worker, from
//   which an idle one may steal it; a thread that is no worker hands it to whichever worker comes first (spawn_on: on
//   the worker named). The child begins after the caller suspends, not inside spawn.
// - start(fn, args...) does so for a Task<T> whose value is wanted: see Handle.
// - limit(n): at most n children run at the same time; the others are held back and begin in the order of their spawn.
// - cancel() asks every child to end: each await of theirs, now waiting or begun later, ends with Errc::cancelled.
//   Cancelling the task that made the scope cancels the scope. Children inherit the deadline (see Deadline) that the
//   maker had when it made the scope.
// - A child that ends with an exception cancels its siblings; join() rethrows the first such exception.
// - join() waits for all children, whatever happens; it is never cut short. Children may spawn siblings until then.
//   join().within(t) and .until(t) cancel the children at that time, and still wait for their end; timed_out() tells.
// - A scope that had children and is destroyed without join traps and says where it was made. with_scope() joins on
//   every way out.
//
// Threads: spawn and join on the task that made the scope or on its children's workers; cancel from any thread.
// Exceptions: spawn may throw std::bad_alloc, before the child exists.
//
//     Scope scope;
//     scope.spawn(serve_one, std::move(link));
//     co_await scope.join();
#pragma once

#include <chainring/config.hpp>
#include <chainring/frame.hpp>
#include <chainring/spin_lock.hpp>
#include <chainring/task.hpp>
#include <chainring/task_context.hpp>
#include <chainring/time.hpp>

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

class Runtime;
template <class T>
class Handle;

namespace detail {

class TaskReport;
class Shield;

// The outermost coroutine of a spawned task: it keeps the callable and its arguments alive and holds the TaskContext.
// Its frame is freed by the worker's loop after the last resume, never from inside the coroutine.
class Child {
public:
    class promise_type final : public Frame, public TaskContext {
    public:
        promise_type() noexcept { context = this; }
        Child get_return_object() noexcept { return Child(*this); }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        struct FinalAwaiter {
            TaskContext& task;
            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<>) const noexcept;
            void await_resume() const noexcept {}
        };
        FinalAwaiter final_suspend() noexcept { return FinalAwaiter{*this}; }
        void return_void() const noexcept {}
        void unhandled_exception() noexcept;
    };

    // The coroutine that the task lives in. Only spawned tasks have a TaskContext, so each is one of these.
    static std::coroutine_handle<> outermost(TaskContext& task) noexcept {
        return std::coroutine_handle<promise_type>::from_promise(static_cast<promise_type&>(task));
    }

    TaskContext& task() const noexcept { return *task_; }

private:
    explicit Child(TaskContext& task) noexcept : task_(&task) {}
    TaskContext* task_;
};

template <class Fn, class... Args>
Child run_child(Fn fn, Args... args) {
    auto task = std::invoke(std::move(fn), std::move(args)...);  // not inside the co_await: GCC 12 destroys such
    co_await std::move(task);                                    // temporaries twice
}

}  // namespace detail

class Scope {
public:
    explicit Scope(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) noexcept;
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope();

    template <class Fn, class... Args>
    void spawn(Fn&& fn, Args&&... args) {
        check<Fn, Args...>();
        launch(detail::run_child<std::decay_t<Fn>, std::decay_t<Args>...>(std::forward<Fn>(fn),
                                                                          std::forward<Args>(args)...));
    }

    // Starts the child on worker `worker` (0 up to Runtime::workers() - 1; traps otherwise), where it stays: it is not
    // stolen (see schedule.hpp).
    template <class Fn, class... Args>
    void spawn_on(unsigned worker, Fn&& fn, Args&&... args) {
        check<Fn, Args...>();
        launch_on(detail::run_child<std::decay_t<Fn>, std::decay_t<Args>...>(std::forward<Fn>(fn),
                                                                             std::forward<Args>(args)...),
                  worker);
    }

    // As spawn, for a Task<T>; the value is awaited through the Handle (include <chainring/handle.hpp>).
    template <class Fn, class... Args>
    auto start(Fn&& fn, Args&&... args)
        -> Handle<typename std::invoke_result_t<std::decay_t<Fn>, std::decay_t<Args>...>::value_type>;

    class [[nodiscard]] Join : detail::RemoteWaiter, public detail::Limited<Join> {
        friend class detail::Limited<Join>;
        friend class detail::Stoppable<Join>;

    public:
        explicit Join(Scope& scope) noexcept;
        Join(const Join&) = delete;
        Join& operator=(const Join&) = delete;
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            return scope_.begin_join(*this, handle.promise(), handle);
        }
        void await_resume() const { scope_.end_join(); }

    private:
        friend class Scope;
        Scope& scope_;
        detail::Limit limit_;
    };

    // Completes when every child has ended; throws the first exception that one of them ended with.
    Join join() noexcept { return Join(*this); }
    // Whether join() had a limit, and children were cancelled because of it.
    bool timed_out() const noexcept { return timed_out_; }

    // At least one. Any thread that may spawn; a higher limit starts what it lets through at once.
    void limit(std::size_t children) noexcept;

    // Asks every child to end. Idempotent; children spawned afterwards start cancelled.
    void cancel() noexcept;

    // Children that have not ended, those held back by the limit included.
    std::size_t size() const noexcept { return children_.load(std::memory_order_acquire) & ~joining; }

private:
    friend class Runtime;
    friend class detail::Child::promise_type;
    friend class detail::Worker;
    friend class detail::TaskReport;
    friend class detail::TaskContext;
    friend class detail::Shield;

    static constexpr std::size_t joining = std::size_t{1} << 63;

    struct RootTag {};
    Scope(RootTag, Runtime& runtime) noexcept;

    template <class Fn, class... Args>
    static void check() noexcept {
        static_assert(std::is_invocable_r_v<Task<>, std::decay_t<Fn>, std::decay_t<Args>...>,
                      "spawn takes a callable that returns Task<> for these arguments; its arguments are moved in");
    }
    void launch(detail::Child child) noexcept;
    void launch_on(detail::Child child, unsigned worker) noexcept;
    void adopt(detail::TaskContext& task) noexcept;
    bool begin_join(Join& join, detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    void end_join();
    void child_threw(detail::TaskContext& child, std::exception_ptr exception) noexcept;
    void unlink(detail::TaskContext& child) noexcept;
    void child_ended() noexcept;
    detail::TaskContext* take_held() noexcept;
    static void deliver_cancel(detail::InboxNode& node) noexcept;

    Runtime* runtime_;
    detail::TaskContext* owner_;  // the task that made the scope; null for the root scope
    Scope* outer_ = nullptr;      // next in the owner's list of open scopes
    const char* file_;
    unsigned line_;
    std::uint8_t shields_ = 0;           // the owner's shielded regions when it made the scope
    Instant deadline_ = Instant::max();  // the owner's when it made the scope

    // Guards the list, the fields of the children marked "scope", and what follows up to cancelled_; held for a few
    // stores.
    detail::SpinLock mutex_;
    detail::TaskContext* first_child_ = nullptr;
    detail::InboxNode* held_first_ = nullptr;  // RunNodes of children that the limit holds back
    detail::InboxNode* held_last_ = nullptr;
    std::size_t running_ = 0;  // children begun and not ended
    std::size_t limit_ = static_cast<std::size_t>(-1);
    std::exception_ptr first_;
    bool cancelled_ = false;
    bool had_children_ = false;
    bool joined_ = false;
    bool timed_out_ = false;  // the owner's worker
    Join* joiner_ = nullptr;  // set before `joining` is, read by whoever takes the count to zero after that

    // Children not ended, and the flag `joining`. acq_rel: the join sees all that the children wrote. Whoever takes the
    // count to zero with `joining` set wakes the joiner; after a decrement that does not, the scope may be gone.
    std::atomic<std::size_t> children_{0};
};

CHAINRING_END_NAMESPACE
