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
#include <chainring/trap.hpp>

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

class Runtime;
class RuntimeState;
template <class T>
class Handle;

namespace detail {

class TaskReport;
class Shield;

// A spawned task: its TaskContext, and the callable and its arguments, which live as long as the coroutine that they
// began. Memory is one piece, and the coroutine's frame, which the call makes on the worker where the task begins.
class Child : public TaskContext {
public:
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    // All that has a TaskContext is a Child.
    static Child& of(TaskContext& task) noexcept { return static_cast<Child&>(task); }

    // On the worker that begins the task: calls the callable. Null, and the scope was told, when that has thrown.
    std::coroutine_handle<> begin() noexcept { return operations_.begin(*this); }
    // After the coroutine's end, there: destroys it and what it was given. A TaskContext is left.
    void clear() noexcept { operations_.clear(*this); }
    // After clear(), when nobody can reach the TaskContext any more; any thread.
    void free() noexcept { free_frame(this, operations_.bytes); }
    // One that was never launched.
    void discard() noexcept {
        clear();
        free();
    }

protected:
    struct Operations {
        std::coroutine_handle<> (*begin)(Child&) noexcept;
        void (*clear)(Child&) noexcept;
        std::size_t bytes;
    };
    explicit Child(const Operations& operations) noexcept : operations_(operations) { outermost_.context = this; }
    void threw(std::exception_ptr exception) noexcept;  // tells the scope
    FrameNode outermost_;                               // the end of the coroutine's chain of awaits

private:
    const Operations& operations_;
};
static_assert(std::is_trivially_destructible_v<TaskContext>, "Child::free ends it by giving back its memory");

template <class Fn, class... Args>
class ChildOf final : public Child {
public:
    template <class... Given>
    static Child& make(Given&&... given) {
        return *new ChildOf(std::forward<Given>(given)...);
    }
    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
    static void operator delete(void* child, std::size_t bytes) noexcept { free_frame(child, bytes); }
    ~ChildOf() {}  // clear() has ended body_

private:
    // Members are destroyed from the last to the first.
    struct Body {
        template <class GivenFn, class... Given>
        explicit Body(GivenFn&& given_fn, Given&&... given)
            : fn(std::forward<GivenFn>(given_fn)), args(std::forward<Given>(given)...) {}
        Fn fn;
        std::tuple<Args...> args;
        Task<> task;
    };

    template <class... Given>
    explicit ChildOf(Given&&... given) : Child(operations), body_(std::forward<Given>(given)...) {
        static_assert(alignof(ChildOf) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__, "arguments of a task are not over-aligned");
    }

    static std::coroutine_handle<> begin_body(Child& child) noexcept {
        auto& self = static_cast<ChildOf&>(child);
        Body& body = self.body_;
        try {
            body.task =
                std::apply([&](Args&... args) -> Task<> { return std::invoke(std::move(body.fn), std::move(args)...); },
                           body.args);
        } catch (...) {
            self.threw(std::current_exception());
            return nullptr;
        }
        CHAINRING_REQUIRE(body.task.handle_, "an empty Task was spawned");
        CHAINRING_REQUIRE(!body.task.handle_.promise().started(), "a Task is awaited at most once");
        body.task.handle_.promise().begin(self, self.outermost_);
        return body.task.handle_;
    }
    static void clear_body(Child& child) noexcept {
        auto& self = static_cast<ChildOf&>(child);
        if (const auto& task = self.body_.task.handle_; task && task.promise().exception()) [[unlikely]]
            self.threw(task.promise().exception());
        self.body_.~Body();
    }
    static constexpr Operations operations{begin_body, clear_body, sizeof(ChildOf)};

    union {
        Body body_;
    };
};

template <class Fn, class... Args>
Child& make_child(Fn&& fn, Args&&... args) {
    return ChildOf<std::decay_t<Fn>, std::decay_t<Args>...>::make(std::forward<Fn>(fn), std::forward<Args>(args)...);
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
        launch(detail::make_child(std::forward<Fn>(fn), std::forward<Args>(args)...));
    }

    // Starts the child on worker `worker` (0 up to Runtime::workers() - 1; traps otherwise), where it stays: it is not
    // stolen (see schedule.hpp).
    template <class Fn, class... Args>
    void spawn_on(unsigned worker, Fn&& fn, Args&&... args) {
        check<Fn, Args...>();
        launch_on(detail::make_child(std::forward<Fn>(fn), std::forward<Args>(args)...), worker);
    }

    // Calls spawns(), which spawns children here. What it throws is as what a child throws: the children that there are
    // by then are cancelled, and join() rethrows it. So no exception comes between a child and its join.
    template <class Spawns>
    void spawn_all(Spawns&& spawns) noexcept {
        try {
            spawns();
        } catch (...) {
            fail(std::current_exception());
        }
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
    std::size_t size() const noexcept { return children_.load(std::memory_order_acquire); }

private:
    friend class Runtime;
    friend class detail::Child;
    friend class detail::Worker;
    friend class detail::TaskReport;
    friend class detail::TaskContext;
    friend class detail::Shield;

    struct RootTag {};
    Scope(RootTag, Runtime& runtime) noexcept;

    template <class Fn, class... Args>
    static void check() noexcept {
        static_assert(std::is_invocable_r_v<Task<>, std::decay_t<Fn>, std::decay_t<Args>...>,
                      "spawn takes a callable that returns Task<> for these arguments; its arguments are moved in");
    }
    void launch(detail::Child& child) noexcept;
    void launch_on(detail::Child& child, unsigned worker) noexcept;
    void adopt(detail::TaskContext& task) noexcept;
    bool begin_join(Join& join, detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    void end_join();
    void fail(std::exception_ptr exception) noexcept;
    void child_threw(detail::TaskContext& child, std::exception_ptr exception) noexcept;
    void child_ended(detail::Child& child) noexcept;
    void child_freed() noexcept;
    void count(std::size_t more) noexcept;
    void hold(bool on) noexcept;
    bool count_down(Join*& joiner) noexcept;
    static void none_left(Join* joiner, RuntimeState& state) noexcept;
    static void free_ended(detail::TaskContext& task) noexcept;
    detail::TaskContext* take_held() noexcept;
    static void deliver_cancel(detail::InboxNode& node) noexcept;

    Runtime* runtime_;
    detail::TaskContext* owner_;  // the task that made the scope; null for the root scope
    Scope* outer_ = nullptr;      // next in the owner's list of open scopes
    const char* file_;
    unsigned line_;
    std::uint8_t shields_ = 0;           // the owner's shielded regions when it made the scope
    Instant deadline_ = Instant::max();  // the owner's when it made the scope

    // Guards the list, the fields of the children marked "scope", and what follows, timed_out_ aside; held for a few
    // stores. A child's begin takes it once, and its end once: more would show in the cost of both.
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
    Join* joiner_ = nullptr;  // whoever takes the count to zero wakes it
    // Children that are not gone yet: ended, and freed of what they were given. Written with the mutex held; after a
    // change to zero the scope may be gone as soon as the mutex is given back. Release, for size().
    std::atomic<std::size_t> children_{0};
};

CHAINRING_END_NAMESPACE
