// SPDX-License-Identifier: BSL-1.0
// Deadline: while it exists, every await of the task that made it, and of the tasks that it starts in scopes made
// meanwhile, ends by that time with Errc::timed_out, as if each had .until(deadline). It narrows the time of everything
// below it; it never widens: the earliest of the deadlines in force counts, and with it an operation's own limit.
//
// Lives in the coroutine whose task it limits (a local variable); not copied, not moved. Made outside of a task it
// traps. A deadline in the past: each operation tries once without waiting. A sleep that it cuts short yields false.
// Not limited: Scope::join (the children are), yield, and what is inside of a shielded region.
//
//     const Deadline deadline(2s);
//     auto request = co_await link.recv_until("\r\n", 4096);
//     co_await answer(link, request);     // in what is left of the two seconds
//
// shielded(task): runs the task where neither a cancel nor a deadline from outside reaches it, for clean-up that must
// finish: a farewell to the peer, a lock given back. What was asked meanwhile takes effect when it has ended. Give the
// task limits of its own: nothing else ends it, and a stop of the runtime waits for it.
//
//     co_await shielded(say_goodbye(link));
#pragma once

#include <chainring/config.hpp>
#include <chainring/task.hpp>
#include <chainring/task_context.hpp>
#include <chainring/time.hpp>

#include <coroutine>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

class Deadline {
public:
    explicit Deadline(Duration from_now) noexcept;
    explicit Deadline(Instant instant) noexcept;
    Deadline(const Deadline&) = delete;
    Deadline& operator=(const Deadline&) = delete;
    ~Deadline();

    // The deadline of the calling task; Instant::max() when it has none.
    static Instant current() noexcept;
    static bool passed() noexcept { return current() <= now(); }

private:
    detail::TaskContext* task_;
    Instant outer_;
};

namespace detail {

// The state of a task's shield, to be put back.
class Shield {
public:
    void raise(TaskContext& task) noexcept;
    void lower() noexcept;

private:
    TaskContext* task_ = nullptr;
    Instant deadline_{};
};

}  // namespace detail

template <class T>
class [[nodiscard]] Shielded {
public:
    explicit Shielded(Task<T> task) noexcept : task_(std::move(task)) {}
    Shielded(const Shielded&) = delete;
    Shielded& operator=(const Shielded&) = delete;

    class Awaiter {
    public:
        explicit Awaiter(typename Task<T>::Awaiter inner) noexcept : inner_(inner) {}
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
            shield_.raise(*awaiting.promise().context);
            return inner_.await_suspend(awaiting);
        }
        T await_resume() {
            shield_.lower();
            return inner_.await_resume();
        }

    private:
        typename Task<T>::Awaiter inner_;
        detail::Shield shield_;
    };
    Awaiter operator co_await() && noexcept { return Awaiter(std::move(task_).operator co_await()); }

private:
    Task<T> task_;
};

// Completes when the task has ended; yields its value, rethrows its exception.
template <class T>
Shielded<T> shielded(Task<T> task) noexcept {
    return Shielded<T>(std::move(task));
}

CHAINRING_END_NAMESPACE
