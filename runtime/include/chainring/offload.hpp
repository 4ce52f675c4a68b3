// SPDX-License-Identifier: BSL-1.0
// offload(fn, args...): calls fn(args...) on a thread of the runtime's pool for what blocks or takes long (a file, a
// password hash, getaddrinfo), so that the worker goes on with its other tasks.
//
// Completes when the call has returned; yields Result<R> (Result<U> when fn returns Result<U>): what it returned; or
// Errc::cancelled or Errc::timed_out, and then fn was never called. A call that has begun is not interrupted: a cancel
// or a limit waits for its end, and what it returned is delivered. An exception of fn is rethrown.
// Errc::overloaded: the queue is full and options.offload_full says reject.
//
// The pool (RuntimeOptions::offload_threads, _queue, _full) starts a thread when a call finds none idle, and keeps it
// until run() returns. fn and args are copied or moved into the awaiting frame; fn must be trivially destructible (a
// function, a lambda without owning captures) and runs outside of any task: it may not use what needs one. Allocates
// nothing.
//
//     auto digest = co_await offload(hash_password, password);
#pragma once

#include <chainring/config.hpp>
#include <chainring/handle.hpp>
#include <chainring/result.hpp>
#include <chainring/task_context.hpp>
#include <chainring/time.hpp>

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class OffloadPool;

// A call in the pool's queue, and the task that waits for it.
class OffloadedCall : public RemoteWaiter {
public:
    OffloadedCall(const OffloadedCall&) = delete;
    OffloadedCall& operator=(const OffloadedCall&) = delete;

protected:
    friend class OffloadPool;
    explicit OffloadedCall(void (*call)(OffloadedCall&) noexcept) noexcept;
    ~OffloadedCall() = default;
    bool start(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept;
    bool ran() const noexcept { return ran_; }
    std::error_code error() const noexcept;  // when it did not run

private:
    static void end_early(Waiter& waiter, Wake why) noexcept;

    void (*call_)(OffloadedCall&) noexcept;
    OffloadPool* pool_ = nullptr;
    OffloadedCall* next_ = nullptr;  // the queue, guarded by the pool's mutex
    OffloadedCall* previous_ = nullptr;
    bool queued_ = false;  // guarded by it
    bool ran_ = false;     // written by the pool's thread before the wake
    bool rejected_ = false;
};

}  // namespace detail

template <class Fn, class... Args>
class [[nodiscard]] Offload : detail::OffloadedCall, public detail::Limited<Offload<Fn, Args...>> {
    friend class detail::Limited<Offload>;
    friend class detail::Stoppable<Offload>;
    using Value = std::invoke_result_t<Fn, Args...>;

public:
    template <class F, class... As>
    explicit Offload(F&& fn, As&&... args)
        : OffloadedCall(call), fn_(std::forward<F>(fn)), args_(std::forward<As>(args)...) {}

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle, limit_);
    }
    detail::flattened_t<Value> await_resume() {
        if (!ran()) return error();
        if (exception_) std::rethrow_exception(exception_);
        if constexpr (std::is_void_v<Value>)
            return {};
        else
            return std::move(*value_);
    }

private:
    static void call(detail::OffloadedCall& erased) noexcept {
        auto& self = static_cast<Offload&>(erased);
        try {
            if constexpr (std::is_void_v<Value>)
                std::apply(self.fn_, std::move(self.args_));
            else
                self.value_.emplace(std::apply(self.fn_, std::move(self.args_)));
        } catch (...) {
            self.exception_ = std::current_exception();
        }
    }

    Fn fn_;
    std::tuple<Args...> args_;
    detail::Limit limit_;
    std::optional<detail::held_t<Value>> value_;
    std::exception_ptr exception_;
};

template <class Fn, class... Args>
auto offload(Fn&& fn, Args&&... args) {
    static_assert(std::is_trivially_destructible_v<std::decay_t<Fn>>,
                  "offload takes a function or a lambda without owning captures; pass state as further arguments");
    return Offload<std::decay_t<Fn>, std::decay_t<Args>...>(std::forward<Fn>(fn), std::forward<Args>(args)...);
}

CHAINRING_END_NAMESPACE
