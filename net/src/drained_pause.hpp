// SPDX-License-Identifier: BSL-1.0
// DrainedPause: a sleep that a stop of the runtime ends, as soon as it drains: for the pauses of what would only begin
// something new. Yields nothing when the time has passed, or Errc::cancelled, timed_out (the task's deadline comes
// first) or shutting_down.
//
// The claim is between the timer, a cancel and the drain, all on the worker where the wait began.
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/time.hpp>

#include "runtime/src/resource.hpp"

#include <coroutine>
#include <optional>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class [[nodiscard]] DrainedPause : TimedWaiter {
public:
    explicit DrainedPause(Duration duration) noexcept;
    DrainedPause(const DrainedPause&) = delete;
    DrainedPause& operator=(const DrainedPause&) = delete;
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }
    Result<void> await_resume() const noexcept;

private:
    // There while the task waits, on that worker; it goes before the task may run elsewhere.
    class Watch final : public Resource {
    public:
        Watch(Worker& worker, DrainedPause& pause) noexcept : Resource(worker), pause_(pause) {}
        void on_stop(Stop stop) noexcept override;

    private:
        DrainedPause& pause_;
    };
    bool start(FrameNode& node, std::coroutine_handle<> handle) noexcept;
    static void end(Waiter& waiter, Wake why) noexcept;

    Limit limit_;
    bool cut_short_ = false;  // the task's deadline comes first
    std::optional<Watch> watch_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
