// SPDX-License-Identifier: BSL-1.0
// Channel<T>: a bounded queue between tasks, any number of senders and receivers.
//
// - send(value) completes when the channel has taken the value: at once while there is room, else when a receiver has
// made
//   some. Yields nothing, or Errc::closed, timed_out or cancelled; then the value was not taken, and goes with the
//   await.
// - recv() completes with the oldest value. Yields Result<T>, or timed_out, cancelled, or Errc::closed once the channel
//   is closed and empty.
// - close(): senders, waiting or to come, get Errc::closed; receivers first drain what was taken. Idempotent.
// - Order: values are received in the order in which they were taken; waiters are served first in, first out. A value
//   that the channel has taken is never lost: a receiver that was handed one gets it, whatever comes later.
// - Threads: send and recv from tasks, on any worker; try_send, try_recv, close and the rest from any thread. The
// Channel
//   must outlive its waiters. Memory: room for the capacity, taken at construction (std::bad_alloc); none for each
//   value or wait.
// - T is nothrow move-constructible. On GCC 12 do not write an aggregate temporary inside the co_await expression, as
// in
//   co_await channel.send(Message{...}): name it first (docs/design/toolchain.md).
//
//     Channel<std::string> lines(16);
//     (co_await lines.send(text)).value();
//     while (auto line = co_await lines.recv()) print(*line);
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/task_context.hpp>
#include <chainring/trap.hpp>
#include <chainring/wait_queue.hpp>

#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

template <class T>
class Channel {
    static_assert(std::is_nothrow_move_constructible_v<T>, "Channel<T> moves its values and must not fail in doing so");

public:
    explicit Channel(std::size_t capacity) : room_(capacity), receivers_(senders_.mutex()) {
        CHAINRING_REQUIRE(capacity > 0, "a Channel has room for at least one value");
    }

    class [[nodiscard]] Send : detail::QueuedWait, public detail::Limited<Send> {
        friend class detail::Limited<Send>;
        friend class Channel;

    public:
        Send(Channel& channel, T&& value) noexcept
            : QueuedWait(channel.senders_), channel_(channel), value_(std::move(value)) {
            waits_in = detail::WaitKind::channel;
        }
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            detail::Granted granted;
            const bool waits = start(handle.promise(), handle, granted);
            granted.wake();
            return waits;
        }
        Result<void> await_resume() const noexcept { return error(); }

    private:
        bool start(detail::FrameNode& node, std::coroutine_handle<> handle, detail::Granted& granted) noexcept {
            const std::lock_guard lock(queue_.mutex());
            if (channel_.closed_) {
                refuse(detail::Wake::closed);
                return false;
            }
            if (node.context->cancelled) {
                refuse(detail::Wake::cancelled);
                return false;
            }
            if (channel_.put(value_, granted)) {
                grant_at_once();
                return false;
            }
            enqueue(node, handle, limit_);
            return true;
        }
        Channel& channel_;
        T value_;
        detail::Limit limit_;
    };

    class [[nodiscard]] Recv : detail::QueuedWait, public detail::Limited<Recv> {
        friend class detail::Limited<Recv>;
        friend class Channel;

    public:
        explicit Recv(Channel& channel) noexcept : QueuedWait(channel.receivers_), channel_(channel) {
            waits_in = detail::WaitKind::channel;
        }
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            detail::Granted granted;
            const bool waits = start(handle.promise(), handle, granted);
            granted.wake();
            return waits;
        }
        Result<T> await_resume() noexcept {
            if (value_) return std::move(*value_);
            return error();
        }

    private:
        bool start(detail::FrameNode& node, std::coroutine_handle<> handle, detail::Granted& granted) noexcept {
            const std::lock_guard lock(queue_.mutex());
            value_ = channel_.get(granted);
            if (value_) {
                grant_at_once();
                return false;
            }
            if (channel_.closed_ || node.context->cancelled) {
                refuse(channel_.closed_ ? detail::Wake::closed : detail::Wake::cancelled);
                return false;
            }
            enqueue(node, handle, limit_);
            return true;
        }
        Channel& channel_;
        std::optional<T> value_;  // set by whoever grants the wait
        detail::Limit limit_;
    };

    Send send(T value) noexcept { return Send(*this, std::move(value)); }
    Recv recv() noexcept { return Recv(*this); }

    // Takes the value when there is room; else false, and the value is as it was.
    bool try_send(T& value) noexcept {
        detail::Granted granted;
        bool taken = false;
        {
            const std::lock_guard lock(senders_.mutex());
            taken = !closed_ && put(value, granted);
        }
        granted.wake();
        return taken;
    }
    bool try_send(T&& value) noexcept { return try_send(value); }

    // The oldest value, if there is one.
    std::optional<T> try_recv() noexcept {
        detail::Granted granted;
        std::optional<T> value;
        {
            const std::lock_guard lock(senders_.mutex());
            value = get(granted);
        }
        granted.wake();
        return value;
    }

    void close() noexcept {
        detail::Granted granted;
        {
            const std::lock_guard lock(senders_.mutex());
            closed_ = true;
            while (detail::QueuedWait* wait = senders_.grant(detail::Wake::closed)) granted.add(*wait);
            while (detail::QueuedWait* wait = receivers_.grant(detail::Wake::closed)) granted.add(*wait);
        }
        granted.wake();
    }

    bool is_closed() const noexcept {
        const std::lock_guard lock(senders_.mutex());
        return closed_;
    }
    std::size_t size() const noexcept {  // values taken and not received; a snapshot
        const std::lock_guard lock(senders_.mutex());
        return count_;
    }
    std::size_t capacity() const noexcept { return room_.size(); }

private:
    // All below: with the mutex held.

    // Hands the value to the oldest receiver that waits, or stores it; false when there is no room.
    bool put(T& value, detail::Granted& granted) noexcept {
        if (detail::QueuedWait* wait = receivers_.grant()) {
            static_cast<Recv&>(*wait).value_.emplace(std::move(value));
            granted.add(*wait);
            return true;
        }
        if (count_ == room_.size()) return false;
        room_[(first_ + count_++) % room_.size()].emplace(std::move(value));
        return true;
    }

    // Takes the oldest value and lets the oldest sender that waits put its own.
    std::optional<T> get(detail::Granted& granted) noexcept {
        std::optional<T> value;
        if (count_ == 0) return value;
        value.emplace(std::move(*room_[first_]));
        room_[first_].reset();
        first_ = (first_ + 1) % room_.size();
        --count_;
        if (detail::QueuedWait* wait = senders_.grant()) {
            room_[(first_ + count_++) % room_.size()].emplace(std::move(static_cast<Send&>(*wait).value_));
            granted.add(*wait);
        }
        return value;
    }

    std::vector<std::optional<T>> room_;  // a ring: count_ values from first_ on
    std::size_t first_ = 0;
    std::size_t count_ = 0;
    bool closed_ = false;
    detail::WaitQueue senders_;    // wait only while the ring is full; its mutex guards the channel
    detail::WaitQueue receivers_;  // wait only while it is empty
};

CHAINRING_END_NAMESPACE
