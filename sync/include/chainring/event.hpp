// SPDX-License-Identifier: BSL-1.0
// Event: a flag that tasks wait for. set() lets everyone through, now and later, until reset().
//
// wait() completes when the event is set; it yields nothing, or an error: Errc::timed_out or Errc::cancelled. Waiters
// resume in the order in which they began to wait, each on its own worker. set, reset and is_set from any thread, also
// from outside of the runtime; what a thread wrote before set() is seen by the tasks that it lets through. A wait for
// an event that is set succeeds, also in a task that was cancelled. The Event must outlive its waiters; those who are
// through may destroy it, set() need not have returned. Waiting allocates nothing.
//
//     Event ready;
//     auto waited = co_await ready.wait().within(1s);
//     if (!waited) ...
#pragma once

#include <chainring/config.hpp>
#include <chainring/event_core.hpp>
#include <chainring/result.hpp>
#include <chainring/wait_queue.hpp>

CHAINRING_BEGIN_NAMESPACE

class Event {
public:
    Event() noexcept = default;

    class [[nodiscard]] Wait : detail::QueuedWait, public detail::Limited<Wait> {
        friend class detail::Limited<Wait>;
        friend class detail::Stoppable<Wait>;

    public:
        explicit Wait(Event& event) noexcept;
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            return start(handle.promise(), handle);
        }
        Result<void> await_resume() const noexcept { return error(); }

    private:
        bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
        Event& event_;
        detail::Limit limit_;
    };

    Wait wait() noexcept { return Wait(*this); }
    void set() noexcept;
    void reset() noexcept;
    bool is_set() const noexcept;

private:
    detail::EventCore<detail::WaitQueue> core_;
};

CHAINRING_END_NAMESPACE
