// SPDX-License-Identifier: BSL-1.0
// Event: a flag that tasks wait for. set() lets everyone through, now and later, until reset().
//
// wait() completes when the event is set; it yields true, or an error: Errc::timed_out or Errc::cancelled. Waiters
// resume in the order in which they began to wait, each on its own worker. set, reset and is_set from any thread, also
// from outside of the runtime; what a thread wrote before set() is seen by the tasks that it lets through. The Event
// must outlive its waiters. Waiting allocates nothing.
//
//     Event ready;
//     if (auto waited = co_await ready.wait().within(1s); !waited) ...
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/time.hpp>

#include <coroutine>
#include <mutex>

CHAINRING_BEGIN_NAMESPACE

class Event {
public:
    Event() noexcept = default;
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    ~Event();  // traps when a task still waits

    class [[nodiscard]] Wait : detail::TimedWaiter, public detail::Limited<Wait> {
        friend class detail::Limited<Wait>;

    public:
        explicit Wait(Event& event) noexcept;
        Wait(const Wait&) = delete;
        Wait& operator=(const Wait&) = delete;
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            return start(handle.promise(), handle);
        }
        Result<void> await_resume() const noexcept;

    private:
        friend class Event;
        struct WakeNode : detail::InboxNode {
            Wait* wait = nullptr;
        };
        bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
        static void end_early(detail::Waiter& waiter, detail::Wake why) noexcept;
        Event& event_;
        detail::Limit limit_;
        Wait* next_ = nullptr;  // the event's list, guarded by its mutex
        Wait* previous_ = nullptr;
        bool listed_ = false;
        WakeNode wake_node_;  // brings the wake to the waiter's worker, which owns its timer
    };

    Wait wait() noexcept { return Wait(*this); }
    void set() noexcept;
    void reset() noexcept;
    bool is_set() const noexcept;

private:
    void unlist(Wait& wait) noexcept;
    mutable std::mutex mutex_;  // guards all below and the waiters' links; held for a few stores
    Wait* first_ = nullptr;
    Wait* last_ = nullptr;
    bool set_ = false;
};

CHAINRING_END_NAMESPACE
