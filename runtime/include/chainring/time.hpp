// SPDX-License-Identifier: BSL-1.0
// Time: Instant and Duration (nanoseconds on the monotonic clock), now(), sleep_for, sleep_until, and what every
// operation needs to end at a given moment. The wall clock plays no part anywhere: setting it has no effect.
#pragma once

#include <chainring/config.hpp>
#include <chainring/task_context.hpp>

#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <limits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

// The time of the runtime that the calling thread works for (its ManualClock, if it has one); outside of a runtime,
// std::chrono::steady_clock. Any thread.
Instant now() noexcept;

namespace detail {

// An entry of a worker's timer queue, embedded in what waits. Owned and touched by that worker only.
struct TimerNode {
    static constexpr std::uint16_t not_armed = std::numeric_limits<std::uint16_t>::max();
    Instant when{};
    std::uint32_t position = 0;       // in what `where` says
    std::uint16_t where = not_armed;  // the queue's name for one of its slots, or for its heap
    bool renewed = false;             // it is a RenewedTimer
    void (*fire)(TimerNode&) noexcept = nullptr;
    bool armed() const noexcept { return where != not_armed; }
};

// Saturates instead of overflowing.
inline Instant after(Instant start, Duration duration) noexcept {
    if (duration > Instant::max() - start) [[unlikely]]
        return Instant::max();
    return start + duration;
}

// When a wait has to end: never, after a while counted from the moment it begins to wait (a receive's: from the end of
// that pass of the worker's loop), or at an instant. Eight bytes: the lowest bit of the nanoseconds tells the last two
// apart; it costs a nanosecond, rounded up.
class Limit {
public:
    Limit() noexcept = default;
    explicit Limit(Duration duration) noexcept { within(duration); }
    explicit Limit(Instant instant) noexcept { until(instant); }
    void within(Duration duration) noexcept { value_ = even(duration.count()); }
    void until(Instant instant) noexcept {
        value_ = even(instant.time_since_epoch().count()) | 1;
        if (value_ == never) value_ -= 2;
    }
    bool given() const noexcept { return value_ != never; }
    // The instant that the limit means for a wait that begins at `start`.
    Instant from(Instant start) const noexcept {
        if (value_ & 1) [[unlikely]]
            return Instant(Duration(value_ & ~Duration::rep{1}));
        return after(start, Duration(value_));
    }

private:
    static constexpr Duration::rep never = -1;
    static constexpr Duration::rep even(Duration::rep value) noexcept {
        constexpr Duration::rep largest = std::numeric_limits<Duration::rep>::max() - 1;
        if (value >= largest) return largest;
        if (value < -largest) return -largest;
        return value + (value & 1);
    }
    Duration::rep value_ = never;
};

// When a wait that begins now has to end at the latest: by its limit or by its task's deadline; Instant::max() for
// never. On the task's worker.
Instant earlier_of(const Limit& limit, const TaskContext& task) noexcept;

template <class Operation, class Token>
class StopOn;

// Gives an awaitable its .stop_on(token): ends the wait with Errc::cancelled when the token (a StopToken or a
// std::stop_token) is stopped, before or during it. Include <chainring/stop_token.hpp>.
template <class Operation>
class Stoppable {
public:
    // For StopOn.
    Waiter& as_waiter() noexcept { return static_cast<Operation&>(*this); }
    template <class Token>
    StopOn<Operation, Token> stop_on(Token token) && noexcept {
        return StopOn<Operation, Token>(static_cast<Operation&&>(*this), std::move(token));
    }
};

// Gives an awaitable with a member `limit_` its .within(duration) and .until(instant) too. All of them are written
// inside the co_await expression, stop_on last: co_await link.recv().within(30s). A task's own deadline (see Deadline)
// counts as well; the earlier one ends the wait. With a limit in the past the operation tries once without waiting, and
// ends with Errc::timed_out if that yields nothing.
template <class Operation>
class Limited : public Stoppable<Operation> {
public:
    // Not of a Duration: the argument's conversion would stay in the frame of the coroutine that calls.
    template <class Rep, class Period>
    requires std::convertible_to<std::chrono::duration<Rep, Period>, Duration> Operation &&
        within(const std::chrono::duration<Rep, Period>& duration) && noexcept {
        auto& self = static_cast<Operation&>(*this);
        self.limit_.within(duration);
        return static_cast<Operation&&>(self);
    }
    Operation&& until(Instant instant) && noexcept {
        auto& self = static_cast<Operation&>(*this);
        self.limit_.until(instant);
        return static_cast<Operation&&>(self);
    }
};

// A Waiter with an exact timer of its own, for waits that are rare or long. Its `cancel` is also what the timer calls,
// with Wake::timed_out: each kind of wait says in one function how it ends early.
struct TimedWaiter : Waiter, TimerNode {
    TimedWaiter() noexcept {
        cancel = end_early;
        fire = on_timer;
    }
    // Publishes the suspension and arms the timer for `limit` or the task's deadline, whichever is earlier; on the
    // task's worker, with the frame that suspends.
    void begin(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept;
    // The same without the task's deadline, for waits that it does not end.
    void begin_exactly(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept;
    // Takes a begun wait back before the task has suspended.
    void stay() noexcept;
    // Ends the wait for the winner of the claim: disarms the timer and schedules the task. On the task's worker.
    void finish() noexcept;
    // The usual way to end early: claim and finish.
    static void end_early(Waiter& waiter, Wake why) noexcept;

private:
    static void on_timer(TimerNode& node) noexcept;
};

// A TimedWaiter that any thread may end. As an InboxNode it brings its wake to the task's worker, which owns the timer.
struct RemoteWaiter : TimedWaiter, InboxNode {
    RemoteWaiter() noexcept;
    // Any thread, for the winner of the claim: finish() on the task's worker. From here on the waiter may be gone.
    void wake() noexcept;
};

}  // namespace detail

// A pause. Completes when the duration has passed (never earlier; later by what the kernel and other tasks take).
// Yields true, or false when it was cut short: by a cancel, or by the task's deadline.
//
//     while (co_await sleep_for(1s)) tick();
class [[nodiscard]] Sleep : detail::TimedWaiter, public detail::Stoppable<Sleep> {
    friend class detail::Stoppable<Sleep>;

public:
    explicit Sleep(detail::Limit limit) noexcept : limit_(limit) {}
    Sleep(const Sleep&) = delete;
    Sleep& operator=(const Sleep&) = delete;

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }
    bool await_resume() const noexcept { return outcome() == detail::Wake::timed_out && !cut_short_; }

private:
    bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    detail::Limit limit_;
    bool cut_short_ = false;  // the task's deadline comes first
};

Sleep sleep_for(Duration duration) noexcept;
Sleep sleep_until(Instant instant) noexcept;

// Lets the other runnable tasks of this worker go first; its I/O, timers and inbox get their turn after at most 64
// resumed tasks. Yields true, or false when the task is cancelled, so that a loop of yields can end.
class [[nodiscard]] Yield {
public:
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        task_ = handle.promise().context;
        task_->leaf = &handle.promise();
        detail::schedule_local(*task_, handle);
    }
    bool await_resume() const noexcept { return !task_->is_cancelled(); }

private:
    detail::TaskContext* task_ = nullptr;
};

inline Yield yield() noexcept {
    return {};
}

CHAINRING_END_NAMESPACE
