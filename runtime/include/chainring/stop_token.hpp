// SPDX-License-Identifier: BSL-1.0
// StopSource and StopToken: a request to stop, given once and seen by every wait that carries the token.
//
//     StopSource source;
//     auto chunk = co_await link.recv().stop_on(source.token());  // Errc::cancelled once source.request_stop()
//
// It ends single waits, whichever task they belong to; to end whole tasks, cancel their Scope.
// - request_stop(), stop_requested() and token() from any thread. A wait that begins after the request tries once,
// takes
//   what is there, and otherwise ends at once.
// - A wait that has its result already when the request comes delivers it: nothing is lost.
// - The StopSource must outlive the waits; destroying it while one is registered traps. Tokens are copied freely.
//   Nothing is allocated, neither for a source nor for a wait.
// - A std::stop_token may be given to stop_on as well: no allocation for a wait either (a std::stop_callback).
#pragma once

#include <chainring/config.hpp>
#include <chainring/task_context.hpp>
#include <chainring/time.hpp>

#include <atomic>
#include <coroutine>
#include <mutex>
#include <optional>
#include <stop_token>

CHAINRING_BEGIN_NAMESPACE

class StopSource;
namespace detail {
template <class Token>
class StopRegistration;
}

class StopToken {
public:
    bool stop_requested() const noexcept;

private:
    friend class StopSource;
    template <class Token>
    friend class detail::StopRegistration;
    explicit StopToken(StopSource& source) noexcept : source_(&source) {}
    StopSource* source_;
};

namespace detail {

// Any thread that keeps the wait registered, and with it the task: asks the task's worker to end the wait.
void stop_wait(Waiter& waiter, TaskContext& task) noexcept;

// A wait that a token may stop, from begin() until end(). Lives in the frame that waits.
template <>
class StopRegistration<StopToken> {
public:
    explicit StopRegistration(StopToken token) noexcept : source_(*token.source_) {}
    void begin(Waiter& waiter, TaskContext& task) noexcept;
    void end() noexcept;

private:
    friend class chainring::StopSource;
    StopSource& source_;
    Waiter* waiter_ = nullptr;
    TaskContext* task_ = nullptr;
    StopRegistration* next_ = nullptr;  // the source's list, guarded by its mutex
    StopRegistration* previous_ = nullptr;
};

template <>
class StopRegistration<std::stop_token> {
public:
    explicit StopRegistration(std::stop_token token) noexcept : token_(std::move(token)) {}
    void begin(Waiter& waiter, TaskContext& task) noexcept { callback_.emplace(token_, Fire{&waiter, &task}); }
    void end() noexcept { callback_.reset(); }  // waits for a callback that is being run

private:
    struct Fire {
        Waiter* waiter;
        TaskContext* task;
        void operator()() const noexcept { stop_wait(*waiter, *task); }
    };
    std::stop_token token_;
    std::optional<std::stop_callback<Fire>> callback_;
};

// What .stop_on(token) makes of an operation. It refers to the operation, which is a temporary of the same expression.
// Registered before the operation begins, because from then on its task may be woken; a stop that comes before that is
// found when the wait is published.
template <class Operation, class Token>
class [[nodiscard]] StopOn {
public:
    StopOn(Operation&& operation, Token token) noexcept : operation_(operation), registration_(std::move(token)) {}
    StopOn(const StopOn&) = delete;
    StopOn& operator=(const StopOn&) = delete;

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        registration_.begin(operation_.as_waiter(), *handle.promise().context);
        return operation_.await_suspend(handle);
    }
    decltype(auto) await_resume() {
        registration_.end();
        return operation_.await_resume();
    }

private:
    Operation& operation_;
    StopRegistration<Token> registration_;
};

}  // namespace detail

class StopSource {
public:
    StopSource() noexcept = default;
    StopSource(const StopSource&) = delete;
    StopSource& operator=(const StopSource&) = delete;
    ~StopSource();

    // Stops every wait that carries a token of this source. Idempotent. True for the first call.
    bool request_stop() noexcept;
    bool stop_requested() const noexcept { return requested_.load(std::memory_order_acquire); }
    StopToken token() noexcept { return StopToken(*this); }

private:
    friend class detail::StopRegistration<StopToken>;
    std::atomic<bool> requested_{false};  // written under the mutex; acquire/release: a reader sees what went before
    std::mutex mutex_;                    // guards the list; held while the waits are told
    detail::StopRegistration<StopToken>* first_ = nullptr;
};

inline bool StopToken::stop_requested() const noexcept {
    return source_->stop_requested();
}

CHAINRING_END_NAMESPACE
