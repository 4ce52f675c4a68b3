// SPDX-License-Identifier: BSL-1.0
// TimerQueue: the exact timers of one worker. Arming, moving and cancelling cost the same at any number of timers;
// expiry is exact to the nanosecond, earliest first, never early. Owner thread only.
//
// Two parts:
//   the wheel  what is due in a later tick (2^20 ns) than `base_`: the hierarchical timing wheel of Varghese and Lauck
//              (SOSP 1987). 8 levels of 64 slots reach the end of time, so that nothing is clamped. A timer's level is
//              the highest group of 6 bits in which its tick differs from `base_`, its slot that group's value. So
//              every slot in use lies ahead of `base_`, and all of a level comes before all of the next.
//   the heap   a 4-ary min-heap by exact instant of what is due in the current tick. It is exact whatever it holds:
//              next() also takes in a slot of few timers, to tell their instants, and a lone early timer begins there.
// Going to a later tick empties what `base_` passes: into the heap what is due, the rest of the slot that `base_` now
// lies in one or more levels down. A timer moves at most once for each level, whatever it was that time jumped by.
//
// Slots are arrays of pointers, not lists: a TimerNode knows its slot and its position there and has no room for two
// links (it is part of each Link), and the last of the array takes the place of one that leaves. An array grows by
// doubling; one that has been emptied is given back unless it is small.
//
// Costs that are not O(1): timers that fall due within one tick, or that next() took in, are in a heap of just those;
// and a slot is emptied in one go, up to all that fall due within 67 ms, 4.3 s, 4.6 min, ... of each other.
//
// A RenewedTimer's deadline is renewed far more often than it passes, as a Link's limit on each receive is. Renewing
// only stores the deadline; its entry is looked at when its slot comes up, and goes straight to where the deadline then
// belongs.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// A deadline and its entry, which is armed for it or for an earlier one.
struct RenewedTimer : TimerNode {
    RenewedTimer() noexcept { renewed = true; }
    Instant deadline = Instant::max();  // written by TimerQueue::renew only
};
static_assert(sizeof(TimerNode) == 24 && sizeof(RenewedTimer) == 32, "they are part of each Link");

class TimerQueue {
public:
    TimerQueue() noexcept = default;
    TimerQueue(const TimerQueue&) = delete;
    TimerQueue& operator=(const TimerQueue&) = delete;

    // Arms the node for `when`; an armed node is moved. At Instant::max() it is armed and never fires. May throw
    // std::bad_alloc only when an array has to grow; the node is not armed then.
    void arm(TimerNode& node, Instant when);
    void arm(RenewedTimer& timer, Instant when) = delete;  // that is renew()
    void cancel(TimerNode& node) noexcept;

    // The timer's deadline is this now, whatever it was. May throw as arm() does.
    void renew(RenewedTimer& timer, Instant deadline) {
        timer.deadline = deadline;
        if (!timer.armed() || timer.when > deadline) [[unlikely]]
            arm(static_cast<TimerNode&>(timer), deadline);
    }
    // For a RenewedTimer that fires: has its deadline passed? If it is still to come, the timer is armed for it again.
    bool passed(RenewedTimer& timer) {
        if (timer.deadline <= now_) return true;
        arm(static_cast<TimerNode&>(timer), timer.deadline);
        return false;
    }

    bool empty() const noexcept { return size_ == 0; }
    // Whether expire(until) may have something to do. Cheap, and true too often when the earliest timer was cancelled
    // or has fired, until next() was asked.
    bool may_expire(Instant until) const noexcept { return size_ > 0 && earliest_ <= until; }
    std::size_t size() const noexcept { return size_; }
    // When expire() has something to do: not later than the earliest timer, and exact unless many are due close to it.
    // Instant::max() when there is nothing to wait for. Running out of memory here or in expire() ends the program.
    Instant next() noexcept;
    // Fires what is due at `now`, earliest first. A node that fires may arm and cancel itself and others; what is due
    // then fires in the same call, which ends, however, when it has fired 64 more than could be due at its beginning.
    void expire(Instant now) noexcept;

private:
    using Tick = std::int64_t;
    using Slot = std::vector<TimerNode*>;

    static constexpr unsigned tick_bits = 20;  // about a millisecond
    static constexpr unsigned slot_bits = 6;
    static constexpr unsigned slots_per_level = 1U << slot_bits;
    static constexpr unsigned levels = (63 - tick_bits + slot_bits - 1) / slot_bits;
    // Values of TimerNode::where beside the wheel's slots.
    static constexpr std::uint16_t in_heap = levels * slots_per_level;
    static constexpr std::uint16_t never = in_heap + 1;

    static constexpr std::size_t arity = 4;
    static constexpr std::size_t few = 16;         // next() takes in a slot of so many
    static constexpr std::size_t kept = 32;        // an emptied array of so many pointers is not given back
    static constexpr std::size_t further = 64;     // timers that one expire() may fire beyond those due at first
    static constexpr std::size_t look_ahead = 12;  // timers that are fetched early while a slot is emptied

    static Tick tick_of(Instant when) noexcept { return when.time_since_epoch().count() >> tick_bits; }
    static unsigned level_of(Tick one, Tick other) noexcept {
        return (63U - static_cast<unsigned>(std::countl_zero(static_cast<std::uint64_t>(one ^ other)))) / slot_bits;
    }
    static unsigned index_in(unsigned level, Tick tick) noexcept {
        return static_cast<unsigned>(tick >> (slot_bits * level)) % slots_per_level;
    }
    std::uint16_t place_of(Instant when) const noexcept;
    unsigned first_in_use() const noexcept;  // slots in the order of their numbers are in the order of time
    Instant begin_of(unsigned slot) const noexcept;

    void insert(TimerNode& node, std::uint16_t where);
    void remove(TimerNode& node) noexcept;
    void mark(unsigned slot) noexcept;
    void unmark(unsigned slot) noexcept;
    void advance(Tick now);
    void empty_slot(unsigned slot, bool into_heap);

    void place(std::size_t position, TimerNode& node) noexcept;
    void sift_up(std::size_t position) noexcept;
    void sift_down(std::size_t position) noexcept;

    Instant now_;                        // of the latest expire()
    Tick base_ = 0;                      // its tick; what is due in it or before is in the heap
    Instant earliest_ = Instant::max();  // no timer is armed for an earlier instant
    std::size_t size_ = 0;
    std::uint32_t levels_in_use_ = 0;             // a bit for each level that has a slot in use
    std::array<std::uint64_t, levels> in_use_{};  // a bit for each slot that is not empty
    std::array<Slot, levels * slots_per_level + 2> slots_;
    Slot& heap_ = slots_[in_heap];
};

}  // namespace detail
CHAINRING_END_NAMESPACE
