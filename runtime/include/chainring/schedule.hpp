// SPDX-License-Identifier: BSL-1.0
// Where a task runs. A spawned task begins on the worker that spawns it and may be stolen, whenever it is runnable, by
// a worker that has nothing to do (RuntimeOptions::steal); after a wait on a Link it goes on at the Link's home. A task
// with an affinity is never stolen.
//
//   co_await resume_on(w)   goes to worker w and stays there; completes on w. Traps when there is no worker w. Not a
//   wait:
//                           neither limit nor cancel ends it, and it takes no time but the way
//   stay_here()             stays on this worker from now on
//   roam()                  may be stolen again
//
// All are for the calling task; children do not inherit. A task of Scope::spawn_on has begun with stay_here.
#pragma once

#include <chainring/config.hpp>
#include <chainring/task_context.hpp>

#include <coroutine>

CHAINRING_BEGIN_NAMESPACE

class [[nodiscard]] ResumeOn {
public:
    explicit ResumeOn(unsigned worker) noexcept : worker_(worker) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
        return start(*handle.promise().context, handle);
    }
    void await_resume() const noexcept {}

private:
    bool start(detail::TaskContext& task, std::coroutine_handle<> handle) const noexcept;
    unsigned worker_;
};

inline ResumeOn resume_on(unsigned worker) noexcept {
    return ResumeOn(worker);
}

void stay_here() noexcept;
void roam() noexcept;

CHAINRING_END_NAMESPACE
