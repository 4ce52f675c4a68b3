// SPDX-License-Identifier: BSL-1.0
// Scope: a nursery. It starts tasks (children), and the task that made it cannot go on past join() before they have all
// ended. There is no detach: what should outlive its creator is spawned in the runtime's root scope.
//
// - spawn(fn, args...) moves fn and its arguments into the child and starts fn(args...), a Task<>, on this worker
//   (spawn_on: on the worker named). The child begins after the caller suspends, not inside spawn.
// - cancel() asks every child to end: each await of theirs, now waiting or begun later, ends with Errc::cancelled.
//   Cancelling the task that made the scope cancels the scope.
// - A child that ends with an exception cancels its siblings; join() rethrows the first such exception.
// - join() waits for all children, whatever happens; it is never cut short. Children may spawn siblings until then.
// - A scope that had children and is destroyed without join traps and says where it was made.
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
#include <chainring/task.hpp>
#include <chainring/task_context.hpp>

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

class Runtime;

namespace detail {

// The outermost coroutine of a spawned task: it keeps the callable and its arguments alive and holds the TaskContext.
// Its frame is freed by the worker's loop after the last resume, never from inside the coroutine.
class Child {
public:
    class promise_type final : public Frame {
    public:
        promise_type() noexcept {
            context = &task_;
            task_.outermost = std::coroutine_handle<promise_type>::from_promise(*this);
        }
        Child get_return_object() noexcept { return Child(task_); }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        struct FinalAwaiter {
            TaskContext& task;
            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<>) const noexcept;
            void await_resume() const noexcept {}
        };
        FinalAwaiter final_suspend() noexcept { return FinalAwaiter{task_}; }
        void return_void() const noexcept {}
        void unhandled_exception() noexcept;

    private:
        TaskContext task_;
    };

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
        start(detail::run_child<std::decay_t<Fn>, std::decay_t<Args>...>(std::forward<Fn>(fn),
                                                                         std::forward<Args>(args)...),
              current_worker);
    }

    // Starts the child on worker `worker` (0 up to Runtime::workers() - 1; traps otherwise).
    template <class Fn, class... Args>
    void spawn_on(unsigned worker, Fn&& fn, Args&&... args) {
        check<Fn, Args...>();
        start(detail::run_child<std::decay_t<Fn>, std::decay_t<Args>...>(std::forward<Fn>(fn),
                                                                         std::forward<Args>(args)...),
              worker);
    }

    class [[nodiscard]] Join : detail::Waiter {
    public:
        explicit Join(Scope& scope) noexcept : scope_(scope) { waits_in = detail::WaitKind::join; }
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
    };

    // Completes when every child has ended; throws the first exception that one of them ended with.
    Join join() noexcept { return Join(*this); }

    // Asks every child to end. Idempotent; children spawned afterwards start cancelled.
    void cancel() noexcept;

    // Children that have not ended.
    std::size_t size() const noexcept { return children_.load(std::memory_order_acquire) & ~joining; }

private:
    friend class Runtime;
    friend struct detail::Child::promise_type::FinalAwaiter;
    friend class detail::Child::promise_type;
    friend class detail::Worker;

    static constexpr unsigned current_worker = ~0U;
    static constexpr std::size_t joining = std::size_t{1} << 63;

    struct RootTag {};
    Scope(RootTag, Runtime& runtime) noexcept;

    template <class Fn, class... Args>
    static void check() noexcept {
        static_assert(std::is_invocable_r_v<Task<>, std::decay_t<Fn>, std::decay_t<Args>...>,
                      "spawn takes a callable that returns Task<> for these arguments; its arguments are moved in");
    }
    void start(detail::Child child, unsigned worker) noexcept;
    bool begin_join(Join& join, detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    void end_join();
    void fail(std::exception_ptr exception) noexcept;
    bool unlink(detail::TaskContext& child) noexcept;  // false: a cancel is on its way to the child; wait for it
    void child_ended() noexcept;
    void post_cancel(detail::TaskContext& child) noexcept;
    static void deliver_cancel(detail::InboxNode& node) noexcept;

    Runtime* runtime_;
    detail::TaskContext* owner_;  // the task that made the scope; null for the root scope
    Scope* outer_ = nullptr;      // next in the owner's list of open scopes
    const char* file_;
    unsigned line_;

    std::mutex mutex_;  // guards the list, the fields of the children marked "scope", and first_; held for a few stores
    detail::TaskContext* first_child_ = nullptr;
    std::exception_ptr first_;
    bool cancelled_ = false;  // guarded by mutex_
    bool had_children_ = false;
    bool joined_ = false;
    Join* joiner_ = nullptr;  // set before `joining` is, read by whoever takes the count to zero after that

    // Children not ended, and the flag `joining`. acq_rel: the join sees all that the children wrote. Whoever takes the
    // count to zero with `joining` set wakes the joiner; after a decrement that does not, the scope may be gone.
    std::atomic<std::size_t> children_{0};
};

CHAINRING_END_NAMESPACE
