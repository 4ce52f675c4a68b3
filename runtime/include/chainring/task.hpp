// SPDX-License-Identifier: BSL-1.0
// Task<T>: a coroutine that yields a T (or void) to the one who awaits it. Lazy: it starts when it is awaited or
// spawned; move-only; awaited at most once. Everything in it runs on the worker of the task that awaits it.
//
// - Completes when the coroutine returns; an exception that leaves it is rethrown at the co_await.
// - Cancellation reaches what it awaits by itself; the Task is not destroyed by it, it runs to its end.
// - Arguments: a coroutine copies its parameters by their declared type. Take values, or references to what outlives
//   the co_await.
// - Destroying a Task that has started and not ended traps.
//
//     Task<int> answer() { co_return 42; }
//     Task<> ask() { int value = co_await answer(); }
#pragma once

#include <chainring/config.hpp>
#include <chainring/frame.hpp>
#include <chainring/task_context.hpp>
#include <chainring/trap.hpp>

#include <coroutine>
#include <exception>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>
#include <variant>

CHAINRING_BEGIN_NAMESPACE

template <class T = void>
class Task;

namespace detail {

template <class Fn, class... Args>
class ChildOf;

// Awaits an operation where it stands. GCC 12 copies what await_transform returns by reference; this it copies gladly.
template <class Operation>
class InPlace {
public:
    explicit InPlace(Operation& operation) noexcept : operation_(operation) {}
    bool await_ready() const noexcept { return operation_.await_ready(); }
    template <class Promise>
    auto await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
        return operation_.await_suspend(handle);
    }
    decltype(auto) await_resume() const { return operation_.await_resume(); }

private:
    Operation& operation_;
};

// What co_await asks: the awaiter of a Task and the like; an operation is one itself.
template <class Awaitable>
auto awaiter_of(Awaitable&& awaitable) noexcept {
    if constexpr (requires { std::forward<Awaitable>(awaitable).operator co_await(); })
        return std::forward<Awaitable>(awaitable).operator co_await();
    else
        return InPlace<std::remove_reference_t<Awaitable>>(awaitable);
}

// What stands for a void value.
template <class T>
using held_t = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// co_await Held(std::move(awaitable)) yields a value in any case: std::monostate for void.
template <class Awaitable>
class Held {
public:
    explicit Held(Awaitable&& awaitable) noexcept : awaiter_(awaiter_of(std::move(awaitable))) {}
    bool await_ready() const noexcept { return awaiter_.await_ready(); }
    template <class Promise>
    auto await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return awaiter_.await_suspend(handle);
    }
    auto await_resume() {
        if constexpr (std::is_void_v<decltype(awaiter_.await_resume())>) {
            awaiter_.await_resume();
            return std::monostate();
        } else {
            return awaiter_.await_resume();
        }
    }

private:
    decltype(awaiter_of(std::declval<Awaitable>())) awaiter_;
};

class TaskPromiseBase : public Frame {
public:
    std::suspend_always initial_suspend() const noexcept { return {}; }

    struct FinalAwaiter {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
            TaskPromiseBase& promise = handle.promise();
            if (!promise.continuation_) return end_task(*promise.context);
            return transfer(*promise.context, promise.continuation_);
        }
        void await_resume() const noexcept {}
    };
    FinalAwaiter final_suspend() const noexcept { return {}; }

    // Notes where the frame waits: the default argument is the place of the co_await expression.
    template <class Awaitable>
    auto await_transform(Awaitable&& awaitable,
                         [[maybe_unused]] std::source_location at = std::source_location::current()) noexcept {
#if CHAINRING_TASK_DUMP
        where = at;
#endif
        return awaiter_of(std::forward<Awaitable>(awaitable));
    }

    // Enters this frame from `parent`, which awaits it.
    std::coroutine_handle<> enter(std::coroutine_handle<> self, std::coroutine_handle<> awaiting,
                                  FrameNode& parent_node) noexcept {
        continuation_ = awaiting;
        parent = &parent_node;
        context = parent_node.context;
        return transfer(*context, self);
    }
    // The same for the task's own coroutine, which nobody awaits.
    void begin(TaskContext& task, FrameNode& outermost) noexcept {
        context = &task;
        parent = &outermost;
    }
    bool started() const noexcept {
        return context != nullptr;
    }

private:
    std::coroutine_handle<> continuation_;
};

template <class T>
class TaskPromise final : public TaskPromiseBase {
public:
    TaskPromise() noexcept {}
    TaskPromise(const TaskPromise&) = delete;
    TaskPromise& operator=(const TaskPromise&) = delete;
    ~TaskPromise() {
        if (state_ == State::value) value_.~T();
        if (state_ == State::exception) exception_.~exception_ptr();
    }

    Task<T> get_return_object() noexcept;

    template <class U>
    requires std::is_constructible_v<T, U&&>
    void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<T, U&&>) {
        ::new (static_cast<void*>(&value_)) T(std::forward<U>(value));
        state_ = State::value;
    }
    void unhandled_exception() noexcept {
        note_exception(*this);
        ::new (static_cast<void*>(&exception_)) std::exception_ptr(std::current_exception());
        state_ = State::exception;
    }
    T take() {
        if (state_ == State::exception) std::rethrow_exception(exception_);
        return std::move(value_);
    }

private:
    enum class State : unsigned char { empty, value, exception };
    union {
        T value_;
        std::exception_ptr exception_;
    };
    State state_ = State::empty;
};

template <>
class TaskPromise<void> final : public TaskPromiseBase {
public:
    Task<void> get_return_object() noexcept;
    void return_void() const noexcept {}
    void unhandled_exception() noexcept {
        note_exception(*this);
        exception_ = std::current_exception();
    }
    void take() const {
        if (exception_) std::rethrow_exception(exception_);
    }
    const std::exception_ptr& exception() const noexcept { return exception_; }

private:
    std::exception_ptr exception_;
};

}  // namespace detail

template <class T>
class [[nodiscard]] Task {
public:
    using promise_type = detail::TaskPromise<T>;
    using value_type = T;

    Task() noexcept = default;
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            destroy();
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    ~Task() { destroy(); }

    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

    class Awaiter {
    public:
        explicit Awaiter(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> awaiting) const noexcept {
            return handle_.promise().enter(handle_, awaiting, awaiting.promise());
        }
        T await_resume() const { return handle_.promise().take(); }

    private:
        std::coroutine_handle<promise_type> handle_;
    };

    Awaiter operator co_await() && noexcept {
        CHAINRING_REQUIRE(handle_, "an empty Task was awaited");
        CHAINRING_REQUIRE(!handle_.promise().started(), "a Task is awaited at most once");
        return Awaiter(handle_);
    }

private:
    friend promise_type;
    template <class Fn, class... Args>
    friend class detail::ChildOf;
    explicit Task(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
    void destroy() noexcept {
        if (!handle_) return;
        CHAINRING_REQUIRE(!handle_.promise().started() || handle_.done(),
                          "a Task that has started is not destroyed before its end; cancel its scope and join it");
        handle_.destroy();
    }

    std::coroutine_handle<promise_type> handle_;
};

template <class T>
Task<T> detail::TaskPromise<T>::get_return_object() noexcept {
    return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

inline Task<void> detail::TaskPromise<void>::get_return_object() noexcept {
    return Task<void>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

CHAINRING_END_NAMESPACE
