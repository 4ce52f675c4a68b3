// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/timer_queue.hpp"

#include <algorithm>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// ---- the wheel

std::uint16_t TimerQueue::place_of(Instant when) const noexcept {
    if (when == Instant::max()) return never;
    const Tick tick = tick_of(when);
    if (tick <= base_) return in_heap;
    const unsigned level = level_of(tick, base_);
    return static_cast<std::uint16_t>(level * slots_per_level + index_in(level, tick));
}

unsigned TimerQueue::first_in_use() const noexcept {
    if (levels_in_use_ == 0) return in_heap;
    const auto level = static_cast<unsigned>(std::countr_zero(levels_in_use_));
    return level * slots_per_level + static_cast<unsigned>(std::countr_zero(in_use_[level]));
}

Instant TimerQueue::begin_of(unsigned slot) const noexcept {
    // It shares with base_ what is above its level.
    const unsigned shift = slot_bits * (slot / slots_per_level);
    const Tick above = base_ >> shift >> slot_bits << slot_bits;
    return Instant(Duration((above | static_cast<Tick>(slot % slots_per_level)) << shift << tick_bits));
}

void TimerQueue::mark(unsigned slot) noexcept {
    if (slot >= in_heap) return;
    in_use_[slot / slots_per_level] |= std::uint64_t{1} << (slot % slots_per_level);
    levels_in_use_ |= 1U << (slot / slots_per_level);
}

void TimerQueue::unmark(unsigned slot) noexcept {
    if (slot >= in_heap) return;
    std::uint64_t& level = in_use_[slot / slots_per_level];
    level &= ~(std::uint64_t{1} << (slot % slots_per_level));
    if (level == 0) levels_in_use_ &= ~(1U << (slot / slots_per_level));
}

void TimerQueue::insert(TimerNode& node, std::uint16_t where) {
    Slot& to = slots_[where];
    to.push_back(&node);
    earliest_ = std::min(earliest_, node.when);
    node.where = where;
    node.position = static_cast<std::uint32_t>(to.size() - 1);
    if (where == in_heap)
        sift_up(node.position);
    else if (node.position == 0)
        mark(where);
}

// Takes the node out of where it is; the last one there takes its place.
void TimerQueue::remove(TimerNode& node) noexcept {
    const std::uint16_t where = std::exchange(node.where, TimerNode::not_armed);
    const std::size_t position = node.position;
    Slot& from = slots_[where];
    TimerNode& last = *from.back();
    from.pop_back();
    if (&last != &node) {
        from[position] = &last;
        last.position = static_cast<std::uint32_t>(position);
        if (where != in_heap) return;
        sift_up(position);
        sift_down(last.position);
        return;
    }
    if (!from.empty()) return;
    unmark(where);
    if (from.capacity() > kept) Slot().swap(from);
}

void TimerQueue::arm(TimerNode& node, Instant when) {
    std::uint16_t where = place_of(when);
    if (node.armed()) {
        if (node.where == where && where != in_heap) {
            node.when = when;
            earliest_ = std::min(earliest_, when);
            return;
        }
        cancel(node);
    }
    // The earliest of all: next() would take it in.
    if (heap_.size() < few && (heap_.empty() || when < heap_.front()->when) && where < first_in_use()) where = in_heap;
    node.when = when;
    insert(node, where);
    ++size_;
}

void TimerQueue::cancel(TimerNode& node) noexcept {
    if (!node.armed()) return;
    remove(node);
    --size_;
}

// Moves all timers of a slot to where they belong now, or all to the heap.
void TimerQueue::empty_slot(unsigned slot, bool into_heap) {
    Slot nodes = std::exchange(slots_[slot], Slot());
    unmark(slot);
    for (std::size_t at = 0; at < nodes.size(); ++at) {
        if (at + look_ahead < nodes.size()) __builtin_prefetch(nodes[at + look_ahead], 1);
        TimerNode& node = *nodes[at];
        const bool moved = node.renewed && static_cast<RenewedTimer&>(node).deadline > node.when;
        if (moved) node.when = static_cast<RenewedTimer&>(node).deadline;
        insert(node, into_heap && !moved ? in_heap : place_of(node.when));
    }
    if (nodes.capacity() > kept || !slots_[slot].empty()) return;
    nodes.clear();
    slots_[slot] = std::move(nodes);
}

// Below the highest level in which the old tick and the new one differ, every slot has been passed; on that level,
// those up to the new tick's, which may hold later timers too; above it, none.
void TimerQueue::advance(Tick now) {
    if (now <= base_) return;
    const unsigned highest = level_of(now, base_);
    base_ = now;
    for (unsigned level = 0; level <= highest; ++level) {
        std::uint64_t passed = in_use_[level];
        if (level == highest) passed &= ~std::uint64_t{0} >> (slots_per_level - 1 - index_in(level, now));
        for (; passed != 0; passed &= passed - 1)
            empty_slot(level * slots_per_level + static_cast<unsigned>(std::countr_zero(passed)), false);
    }
}

Instant TimerQueue::next() noexcept {
    while (levels_in_use_ != 0) {
        const unsigned slot = first_in_use();
        const Instant begin = begin_of(slot);
        if (!heap_.empty() && heap_.front()->when <= begin) break;
        if (slots_[slot].size() > few) return earliest_ = begin;
        empty_slot(slot, true);
    }
    return earliest_ = heap_.empty() ? Instant::max() : heap_.front()->when;
}

void TimerQueue::expire(Instant now) noexcept {
    now_ = now;
    advance(tick_of(now));
    for (std::size_t left = heap_.size() + further; left > 0 && !heap_.empty(); --left) {
        TimerNode& node = *heap_.front();
        if (node.when > now) break;
        cancel(node);
        node.fire(node);
    }
}

// ---- the heap

void TimerQueue::place(std::size_t position, TimerNode& node) noexcept {
    heap_[position] = &node;
    node.position = static_cast<std::uint32_t>(position);
}

void TimerQueue::sift_up(std::size_t position) noexcept {
    TimerNode& node = *heap_[position];
    while (position > 0) {
        const std::size_t parent = (position - 1) / arity;
        if (heap_[parent]->when <= node.when) break;
        place(position, *heap_[parent]);
        position = parent;
    }
    place(position, node);
}

void TimerQueue::sift_down(std::size_t position) noexcept {
    TimerNode& node = *heap_[position];
    for (;;) {
        const std::size_t first = position * arity + 1;
        if (first >= heap_.size()) break;
        std::size_t least = first;
        for (std::size_t child = first + 1; child < first + arity && child < heap_.size(); ++child)
            if (heap_[child]->when < heap_[least]->when) least = child;
        if (heap_[least]->when >= node.when) break;
        place(position, *heap_[least]);
        position = least;
    }
    place(position, node);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
