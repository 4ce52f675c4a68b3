// SPDX-License-Identifier: BSL-1.0
// Handle<T>: the value of a child that Scope::start has begun.
//
// result() completes when the child has ended; yields Result<T> (Result<U> when the child is a Task<Result<U>>): its
// value, once; or Errc::timed_out or Errc::cancelled when the wait ended before. An exception of the child is rethrown;
// it also cancels the child's siblings and is rethrown by join(), as any child's is. Awaited by any task, one at a time
// and until it has given the value; a further result() traps.
//
// The Handle may outlive the scope, or be dropped: the child goes on, its value is destroyed with the last of the two.
// Memory: one allocation, from the frames' allocator.
//
//     Scope scope;
//     auto reply = scope.start(ask, std::move(link));
//     auto value = co_await reply.result().within(1s);
//     co_await scope.join();
#pragma once

#include <chainring/config.hpp>
#include <chainring/frame.hpp>
#include <chainring/result.hpp>
#include <chainring/scope.hpp>
#include <chainring/trap.hpp>
#include <chainring/wait_queue.hpp>

#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <class T>
struct Flattened {
    using type = Result<T>;
};
template <class T>
struct Flattened<Result<T>> {
    using type = Result<T>;
};
// Result<T>; a T that is a Result already stays one.
template <class T>
using flattened_t = typename Flattened<T>::type;

// What a child and its Handle share; counted.
template <class T>
class HandleState {
public:
    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
    static void operator delete(void* memory, std::size_t bytes) noexcept { free_frame(memory, bytes); }

    // The child, once.
    void succeed(held_t<T> value) noexcept(std::is_nothrow_move_constructible_v<held_t<T>>) {
        value_.emplace(std::move(value));
        end();
    }
    void fail(std::exception_ptr exception) noexcept {
        exception_ = std::move(exception);
        end();
    }

    void acquire() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        // acq_rel: whoever frees it sees what the other side did last.
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    WaitQueue queue;
    bool ended = false;  // guarded by the queue's mutex; what follows is written before it, once
    bool taken = false;  // by the one who awaits
    std::optional<held_t<T>> value_;
    std::exception_ptr exception_;

private:
    void end() noexcept {
        Granted granted;
        {
            const std::lock_guard lock(queue.mutex());
            ended = true;
            queue.grant_all(granted);
        }
        granted.wake();
    }
    std::atomic<unsigned> references_{1};
};

template <class T>
class HandleReference {
public:
    explicit HandleReference(HandleState<T>* adopted) noexcept : state_(adopted) {}
    HandleReference(const HandleReference& other) noexcept : state_(other.state_) {
        if (state_) state_->acquire();
    }
    HandleReference(HandleReference&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    HandleReference& operator=(HandleReference other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~HandleReference() {
        if (state_) state_->release();
    }
    HandleState<T>* operator->() const noexcept { return state_; }
    explicit operator bool() const noexcept { return state_ != nullptr; }

private:
    HandleState<T>* state_;
};

template <class T, class Fn, class... Args>
Task<> run_started(HandleReference<T> state, Fn fn, Args... args) {
    try {
        auto task = std::invoke(std::move(fn), std::move(args)...);
        auto value = co_await Held(std::move(task));
        state->succeed(std::move(value));
    } catch (...) {
        state->fail(std::current_exception());
        throw;
    }
}

}  // namespace detail

template <class T>
class [[nodiscard]] Handle {
public:
    Handle(Handle&&) noexcept = default;
    Handle& operator=(Handle&&) noexcept = default;

    class [[nodiscard]] Wait : detail::QueuedWait, public detail::Limited<Wait> {
        friend class detail::Limited<Wait>;
        friend class detail::Stoppable<Wait>;

    public:
        explicit Wait(detail::HandleReference<T> state) noexcept
            : QueuedWait(state->queue, detail::WaitKind::handle), state_(std::move(state)) {}
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            return start(handle.promise(), handle);
        }
        detail::flattened_t<T> await_resume() {
            if (const std::error_code early = error()) return early;
            CHAINRING_REQUIRE(!state_->taken, "the result of a Handle is taken once");
            state_->taken = true;
            if (state_->exception_) std::rethrow_exception(state_->exception_);
            if constexpr (std::is_void_v<T>)
                return {};
            else
                return std::move(*state_->value_);
        }

    private:
        bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
            const std::lock_guard lock(queue_.mutex());
            if (state_->ended) return grant_at_once();
            if (node.context->is_cancelled()) return refuse(detail::Wake::cancelled);
            enqueue(node, handle, limit_);
            return true;
        }
        detail::HandleReference<T> state_;
        detail::Limit limit_;
    };

    Wait result() noexcept {
        CHAINRING_REQUIRE(state_, "an empty Handle was awaited");
        return Wait(state_);
    }
    // Whether result() would complete at once. Any thread.
    bool ended() const noexcept {
        CHAINRING_REQUIRE(state_, "an empty Handle was asked");
        const std::lock_guard lock(state_->queue.mutex());
        return state_->ended;
    }

private:
    friend class Scope;
    explicit Handle(detail::HandleReference<T> state) noexcept : state_(std::move(state)) {}
    detail::HandleReference<T> state_;
};

template <class Fn, class... Args>
auto Scope::start(Fn&& fn, Args&&... args)
    -> Handle<typename std::invoke_result_t<std::decay_t<Fn>, std::decay_t<Args>...>::value_type> {
    using T = typename std::invoke_result_t<std::decay_t<Fn>, std::decay_t<Args>...>::value_type;
    detail::HandleReference<T> state(new detail::HandleState<T>);
    launch(detail::make_child(detail::run_started<T, std::decay_t<Fn>, std::decay_t<Args>...>, state,
                              std::forward<Fn>(fn), std::forward<Args>(args)...));
    return Handle<T>(std::move(state));
}

CHAINRING_END_NAMESPACE
