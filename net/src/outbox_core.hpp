// SPDX-License-Identifier: BSL-1.0
// OutboxCore: what waits to be sent through the Outboxes of a Link, who waits for room, and when each is let through.
// How a task suspends and how units are sent is not its business.
//
// Units (posted messages) wait in a list, first in, first out, until home takes them. `bytes` counts what was queued
// and is neither taken by the kernel nor dropped: more than what is in the list, by what home has taken to be sent.
//
//   1 room     bytes < high: nobody waits for room; send queues its unit at once
//   2 full     from bytes >= high until bytes <= low: send lists its entry, with its unit (WaitList, states 2 to 5);
//              post does as the policy says
//   3 refused  the Link closes: post and send are refused, and so is every entry that was listed for room. What is in
//              the list is still sent
//              Half closed is the same for as long as it lasts: it ends when the half close was withdrawn in time
//   4 ended    nothing more is sent: the list is emptied, and those who wait for it to drain are refused, too
//
// The wake that must not be lost: both the look at `bytes` and the listing of the entry, and both the counting down and
// the grant, are one hold of the mutex. So an entry is listed before the count falls, and is then found, or it sees the
// room. A unit moves only after its entry's claim was won: if a cancel wins, the unit stays in the entry.
//
// Written over List, a WaitList (in production WaitQueue), and Unit, which has `next` and `left`, its bytes.
#pragma once

#include <chainring/config.hpp>
#include <chainring/outbox.hpp>
#include <chainring/wait_list.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// Units in their order. One thread's, or guarded by the core's mutex.
template <class Unit>
struct UnitList {
    Unit* first = nullptr;
    Unit* last = nullptr;
    void push(Unit& unit) noexcept {
        unit.next = nullptr;
        (last ? last->next : first) = &unit;
        last = &unit;
    }
    Unit* pop() noexcept {
        Unit* unit = first;
        if (!unit) return nullptr;
        first = static_cast<Unit*>(unit->next);
        if (!first) last = nullptr;
        return unit;
    }
};

template <class List, class Unit>
class OutboxCore {
public:
    using Entry = OutboxEntry<Unit, typename List::Entry>;
    using Grants = typename List::Grants;
    using Units = UnitList<Unit>;

    OutboxCore() noexcept : drained_(room_.mutex()) {}

    // All: any thread. The caller wakes who was granted, frees what was dropped, and, where units were queued, tells
    // home.

    void configure(const OutboxOptions& options, Grants& granted) noexcept {
        const std::lock_guard lock(mutex());
        high_ = options.high_water;
        low_ = options.low_water < high_ ? options.low_water : high_ / 2;
        slow_receiver_ = options.slow_receiver;
        full_ = bytes_ >= high_;
        admit(granted);
    }

    // What is dropped is counted off here. An empty unit is dropped at once.
    Posted post(Unit& unit, Units& dropped, Grants& granted) noexcept {
        const std::lock_guard lock(mutex());
        if (refusing()) return Posted::closed;
        if (unit.left == 0) {  // there is nothing to send, and no mark would bound how many of these wait
            dropped.push(unit);
            return Posted::queued;
        }
        Posted outcome = Posted::queued;
        switch (slow_receiver_) {
            case SlowReceiver::wait:
                if (full_) return Posted::full;
                break;
            case SlowReceiver::disconnect:
                if (bytes_ + unit.left <= high_) break;
                refuse_all(granted);
                return Posted::overflow;
            case SlowReceiver::drop_oldest:
            case SlowReceiver::latest_only:
                while (waiting_.first && (slow_receiver_ == SlowReceiver::latest_only || bytes_ + unit.left > high_)) {
                    Unit* oldest = waiting_.pop();
                    count_off(oldest->left);
                    dropped.push(*oldest);
                    ++dropped_;
                    outcome = Posted::dropped_older;
                }
        }
        queue(unit);
        admit(granted);
        return outcome;
    }

    // Of the three: completed, at once; closed, refused; none: the entry is listed, and `begin` has made it complete,
    // under the mutex.
    template <class Begin>
    Wake send(Entry& entry, Begin&& begin) noexcept {
        const std::lock_guard lock(mutex());
        if (refusing()) return Wake::closed;
        if (!full_) {
            if (entry.unit->left > 0) queue(*std::exchange(entry.unit, nullptr));  // as in post; it stays the entry's
            return Wake::completed;
        }
        begin();
        room_.push(entry);
        return Wake::none;
    }

    template <class Begin>
    Wake writable(Entry& entry, Begin&& begin) noexcept {
        const std::lock_guard lock(mutex());
        if (refusing()) return Wake::closed;
        if (!full_) return Wake::completed;
        begin();
        room_.push(entry);
        return Wake::none;
    }

    template <class Begin>
    Wake drained(Entry& entry, Begin&& begin) noexcept {
        const std::lock_guard lock(mutex());
        if (ended_) return Wake::closed;
        if (bytes_ == 0) return Wake::completed;
        begin();
        drained_.push(entry);
        return Wake::none;
    }

    // Home, to send them: what waits, oldest first. What is taken can be dropped no more; so where posts drop,
    // it is taken only when it can be sent now, and no more than low-water bytes, but at least one unit.
    enum class Take : std::uint8_t {
        early,  // it may be sent soon
        now,    // nothing else is left to be sent
        all,    // the Link's own send goes after it, or it closes
    };
    Units take(Take when) noexcept {
        const std::lock_guard lock(mutex());
        const bool may_drop =
            slow_receiver_ == SlowReceiver::drop_oldest || slow_receiver_ == SlowReceiver::latest_only;
        if (!may_drop || when == Take::all) return std::exchange(waiting_, {});
        Units units;
        if (when == Take::early) return units;
        for (std::size_t bytes = 0; waiting_.first && (bytes == 0 || bytes + waiting_.first->left <= low_);) {
            bytes += waiting_.first->left;
            units.push(*waiting_.pop());
        }
        return units;
    }

    // Of a unit that home had taken: the kernel has its bytes now, or they never will be sent.
    void done(std::size_t bytes, Grants& granted) noexcept {
        const std::lock_guard lock(mutex());
        count_off(bytes);
        admit(granted);
    }

    void refuse(Grants& granted) noexcept {
        const std::lock_guard lock(mutex());
        refuse_all(granted);
    }

    // The end of the stream is queued behind what home takes next: what came later would never be sent.
    void half_close(Grants& granted) noexcept {
        const std::lock_guard lock(mutex());
        half_closed_ = true;
        room_.grant_all(granted, Wake::closed);
    }
    // It was withdrawn.
    void reopen() noexcept {
        const std::lock_guard lock(mutex());
        half_closed_ = false;
    }

    // What never will be sent, counted off.
    Units end(Grants& granted) noexcept {
        const std::lock_guard lock(mutex());
        refuse_all(granted);
        ended_ = true;
        for (const Unit* unit = waiting_.first; unit; unit = static_cast<const Unit*>(unit->next))
            count_off(unit->left);
        drained_.grant_all(granted, Wake::closed);
        return std::exchange(waiting_, {});
    }

    std::size_t bytes() const noexcept {
        const std::lock_guard lock(mutex());
        return bytes_;
    }
    std::uint64_t dropped() const noexcept {
        const std::lock_guard lock(mutex());
        return dropped_;
    }
    bool any_waiting() const noexcept {
        const std::lock_guard lock(mutex());
        return waiting_.first != nullptr;
    }

    List& waiting_for_room() noexcept { return room_; }
    List& waiting_for_drain() noexcept { return drained_; }

private:
    auto& mutex() const noexcept { return room_.mutex(); }

    // All below: with the mutex held.

    bool refusing() const noexcept { return refused_ || half_closed_; }

    void queue(Unit& unit) noexcept {
        bytes_ += unit.left;
        full_ |= bytes_ >= high_;
        waiting_.push(unit);
    }

    void count_off(std::size_t bytes) noexcept {
        bytes_ -= bytes;
        if (bytes_ <= low_) full_ = false;
    }

    // Lets through whom the count allows.
    void admit(Grants& granted) noexcept {
        while (!full_) {
            auto* entry = static_cast<Entry*>(room_.grant());
            if (!entry) break;
            if (entry->unit) queue(*std::exchange(entry->unit, nullptr));
            granted.add(*entry);
        }
        if (bytes_ == 0) drained_.grant_all(granted);
    }

    void refuse_all(Grants& granted) noexcept {
        refused_ = true;
        room_.grant_all(granted, Wake::closed);
    }

    Units waiting_;
    std::size_t bytes_ = 0;
    std::size_t high_ = 0;
    std::size_t low_ = 0;
    std::uint64_t dropped_ = 0;
    SlowReceiver slow_receiver_ = SlowReceiver::disconnect;
    bool full_ = false;
    bool refused_ = false;
    bool half_closed_ = false;
    bool ended_ = false;
    List room_;  // its mutex guards all of it
    List drained_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
