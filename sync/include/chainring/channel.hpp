// SPDX-License-Identifier: BSL-1.0
// Channel<T>: a bounded queue between tasks, any number of senders and receivers.
//
// - send(value) completes when the channel has taken the value: at once while there is room, else when a receiver has
//   made some. Yields nothing, or Errc::closed, timed_out or cancelled; then the value was not taken, and goes with the
//   await.
// - recv() completes with the oldest value. Yields Result<T>, or timed_out, cancelled, or Errc::closed once the channel
//   is closed and empty. A task that was cancelled still takes what is there, but does not wait.
// - close(): senders, waiting or to come, get Errc::closed; receivers first drain what was taken. Idempotent.
// - Order: values are received in the order in which they were taken; waiters are served first in, first out. A value
//   that the channel has taken is never lost: a receiver that was handed one gets it, whatever comes later.
// - Threads: send and recv from tasks, on any worker; try_send, try_recv, close and the rest from any thread. The
//   Channel must outlive its waiters; those whose wait has ended may destroy it, the call that ended it need not have
//   returned. Memory: room for the capacity, taken at construction (std::bad_alloc); none for each value or wait.
// - T is nothrow move-constructible. On GCC 12 do not write an aggregate temporary inside the co_await expression, as
//   in co_await channel.send(Message{...}): name it first (docs/design/toolchain.md).
//
//     Channel<std::string> lines(16);
//     (co_await lines.send(text)).value();
//     while (auto line = co_await lines.recv()) print(*line);
#pragma once

#include <chainring/channel_core.hpp>
#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/task_context.hpp>
#include <chainring/trap.hpp>
#include <chainring/wait_queue.hpp>

#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

template <class T>
class Channel {
    static_assert(std::is_nothrow_move_constructible_v<T>, "Channel<T> moves its values and must not fail in doing so");
    using Entry = detail::ChannelWait<T, detail::QueuedWait>;

public:
    explicit Channel(std::size_t capacity) : core_(capacity) {
        CHAINRING_REQUIRE(capacity > 0, "a Channel has room for at least one value");
    }

    class [[nodiscard]] Send : Entry, public detail::Limited<Send> {
        friend class detail::Limited<Send>;
        friend class detail::Stoppable<Send>;

    public:
        Send(Channel& channel, T&& sent) noexcept
            : Entry(channel.core_.senders(), detail::WaitKind::channel), channel_(channel) {
            this->value.emplace(std::move(sent));
        }
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            detail::Granted granted;
            const bool waits = start(handle.promise(), handle, granted);
            granted.wake();
            return waits;
        }
        Result<void> await_resume() const noexcept { return this->error(); }

    private:
        bool start(detail::FrameNode& node, std::coroutine_handle<> handle, detail::Granted& granted) noexcept {
            if (node.context->is_cancelled())
                return this->refuse(channel_.is_closed() ? detail::Wake::closed : detail::Wake::cancelled);
            const detail::Wake ended =
                channel_.core_.send(*this, granted, [&]() noexcept { this->begin(node, handle, limit_); });
            return ended == detail::Wake::none ? true : this->refuse(ended);
        }
        Channel& channel_;
        detail::Limit limit_;
    };

    class [[nodiscard]] Recv : Entry, public detail::Limited<Recv> {
        friend class detail::Limited<Recv>;
        friend class detail::Stoppable<Recv>;

    public:
        explicit Recv(Channel& channel) noexcept
            : Entry(channel.core_.receivers(), detail::WaitKind::channel), channel_(channel) {}
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            detail::Granted granted;
            const bool waits = start(handle.promise(), handle, granted);
            granted.wake();
            return waits;
        }
        Result<T> await_resume() noexcept {
            if (this->value) return std::move(*this->value);
            return this->error();
        }

    private:
        bool start(detail::FrameNode& node, std::coroutine_handle<> handle, detail::Granted& granted) noexcept {
            if (node.context->is_cancelled()) {
                const detail::Wake ended = channel_.core_.try_recv(this->value, granted);
                return this->refuse(ended == detail::Wake::none ? detail::Wake::cancelled : ended);
            }
            const detail::Wake ended =
                channel_.core_.recv(*this, granted, [&]() noexcept { this->begin(node, handle, limit_); });
            return ended == detail::Wake::none ? true : this->refuse(ended);
        }
        Channel& channel_;
        detail::Limit limit_;
    };

    Send send(T value) noexcept { return Send(*this, std::move(value)); }
    Recv recv() noexcept { return Recv(*this); }

    // Takes the value when there is room; else false, and the value is as it was.
    bool try_send(T& value) noexcept {
        detail::Granted granted;
        const bool taken = core_.try_send(value, granted);
        granted.wake();
        return taken;
    }
    bool try_send(T&& value) noexcept { return try_send(value); }

    // The oldest value, if there is one.
    std::optional<T> try_recv() noexcept {
        detail::Granted granted;
        std::optional<T> value;
        core_.try_recv(value, granted);
        granted.wake();
        return value;
    }

    void close() noexcept {
        detail::Granted granted;
        core_.close(granted);
        granted.wake();
    }

    bool is_closed() const noexcept { return core_.is_closed(); }
    std::size_t size() const noexcept { return core_.size(); }  // values taken and not received; a snapshot
    std::size_t capacity() const noexcept { return core_.capacity(); }

private:
    detail::ChannelCore<T, detail::WaitQueue> core_;
};

CHAINRING_END_NAMESPACE
