// SPDX-License-Identifier: BSL-1.0
// Outbox: a counted handle through which any task, on any worker, and any thread sends to a Link that some task reads.
// It is how a broadcast reaches its receivers. Messages leave in the order in which they were queued, each whole, and
// in between the Link's own sends.
//
// Water marks. What was queued and not yet taken by the kernel is counted in bytes. At the high-water mark the Outbox
// is full, and stays so until the count has fallen to the low-water mark:
//
// - send(payload) waits while it is full. One message may pass the mark, so a message may be longer than the mark is.
// - post(payload) never waits. What it does about a slow receiver says OutboxOptions::slow_receiver; what it has done
//   says its value. A receiver that does not read costs the others nothing but the bytes up to its mark.
// - writable() waits until it is not full, drained() until the kernel has taken everything.
//
// An Outbox keeps the Link's slot, not the Link: after the Link's end, everything says `closed`. So do a post, a send
// and writable() from the moment that shutdown_write() is called: what was queued before leaves before the end of the
// stream. (A shutdown_write() that is cancelled, or whose limit passes, before it came to its turn opens the Outboxes
// again.) Copying is cheap; any thread. A thread that is no worker may post, and must not use an Outbox, its
// destruction included, while run() returns or the Runtime is being destroyed.
#pragma once

#include <chainring/config.hpp>
#include <chainring/payload.hpp>
#include <chainring/result.hpp>
#include <chainring/wait_queue.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {
class LinkState;
struct LinkReports;
struct SendUnit;

// `unit`: what a send wants to queue; null for who waits for room, or for the end of everything queued.
template <class Unit, class Entry>
struct OutboxEntry : Entry {
    using Entry::Entry;
    Unit* unit = nullptr;
};

}  // namespace detail

// What post() does when the receiver is slow.
enum class SlowReceiver : unsigned char {
    wait,         // it does not queue the message and says `full`: use send(), which waits
    drop_oldest,  // it drops the oldest messages of those that may still be dropped until this one fits
    latest_only,  // it drops all that may still be dropped, also below the mark: only the latest matters
    disconnect,   // a message that would pass the mark is not queued: it says `overflow` and resets the Link
};

struct OutboxOptions {
    std::size_t high_water = std::size_t{1} << 20;  // bytes; at least 1
    std::size_t low_water = ~std::size_t{0};        // bytes; half of high_water where it is not below that
    SlowReceiver slow_receiver = SlowReceiver::disconnect;
};

enum class Posted : unsigned char {
    queued,         // it will be sent, unless the Link ends before, or a later post drops it
    dropped_older,  // the same, and earlier messages were dropped
    full,           // not queued: there was no room (SlowReceiver::wait)
    overflow,       // not queued: above the mark, and the Link is being reset (SlowReceiver::disconnect)
    closed,         // not queued: the Link has ended or is ending, or its shutdown_write() has begun
};

class Outbox {
public:
    Outbox() noexcept = default;
    Outbox(const Outbox& other) noexcept;
    Outbox(Outbox&& other) noexcept : link_(std::exchange(other.link_, nullptr)) {}
    Outbox& operator=(Outbox other) noexcept {
        std::swap(link_, other.link_);
        return *this;
    }
    ~Outbox();

    // Any thread. A message is dropped only while it waits behind others: not once it is being sent, at most low-water
    // bytes at a time, nor once a send of the Link's own was queued behind it. May throw std::bad_alloc; then nothing
    // was queued.
    Posted post(Payload payload) const;

    class Wait;
    // Queues the message, waiting for room if there is none, first come, first served. Completes when it is queued: it
    // will then be sent, unless the Link ends before. Yields nothing, or an error, and then it was not queued:
    // Errc::closed, timed_out, cancelled, or not_enough_memory.
    //
    // All three: by tasks on any worker, where they go on; .within, .until, .stop_on and cancellation; the Outbox may
    // go while they wait. Who waits for room when the Link ends, closes or half closes gets Errc::closed.
    //
    //     auto sent = co_await outbox.send(payload).within(5s);
    Wait send(Payload payload) const noexcept;
    // Completes when the Outbox is not full: send() and post() would be taken, if nobody comes first.
    Wait writable() const noexcept;
    // Completes when the kernel has taken everything that was queued, or it was dropped. A Link that closes or half
    // closes goes on: what it had queued may still drain.
    Wait drained() const noexcept;

    // Any thread; snapshots.
    std::size_t queued() const noexcept;     // bytes queued and not yet taken by the kernel
    std::uint64_t dropped() const noexcept;  // messages that later posts have dropped
    // The index of the Link's worker; 0 when its Runtime is gone. Not of an empty Outbox.
    unsigned home() const noexcept;

    explicit operator bool() const noexcept { return link_ != nullptr; }

private:
    friend class Link;
    friend struct detail::LinkReports;
    explicit Outbox(detail::LinkState& link) noexcept;
    detail::LinkState* link_ = nullptr;
};

// See send(), writable() and drained().
class [[nodiscard]] Outbox::Wait : detail::OutboxEntry<detail::SendUnit, detail::QueuedWait>,
                                   public detail::Limited<Outbox::Wait> {
    friend class detail::Limited<Outbox::Wait>;
    friend class detail::Stoppable<Outbox::Wait>;

public:
    enum class For : unsigned char { send, writable, drained };
    Wait(const Outbox& outbox, For what, Payload&& payload) noexcept;
    ~Wait();
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }
    Result<void> await_resume() const noexcept;

private:
    friend struct detail::LinkReports;
    bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    Outbox outbox_;
    Payload payload_;
    detail::Limit limit_;
    For for_;
    bool no_memory_ = false;
};

CHAINRING_END_NAMESPACE
