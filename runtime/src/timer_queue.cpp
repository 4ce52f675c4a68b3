// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/timer_queue.hpp"

CHAINRING_BEGIN_NAMESPACE
namespace detail {

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

void TimerQueue::arm(TimerNode& node, Instant when) {
    if (!node.armed()) {
        heap_.push_back(&node);
        node.when = when;
        node.position = static_cast<std::uint32_t>(heap_.size() - 1);
        sift_up(heap_.size() - 1);
        return;
    }
    const bool later = when > node.when;
    node.when = when;
    if (later)
        sift_down(node.position);
    else
        sift_up(node.position);
}

void TimerQueue::cancel(TimerNode& node) noexcept {
    if (!node.armed()) return;
    const std::size_t position = node.position;
    node.position = TimerNode::not_armed;
    TimerNode& last = *heap_.back();
    heap_.pop_back();
    if (&last == &node) return;
    place(position, last);
    sift_up(position);
    sift_down(last.position);
}

void TimerQueue::expire(Instant now) noexcept {
    while (!heap_.empty() && heap_.front()->when <= now) {
        TimerNode& node = *heap_.front();
        cancel(node);
        node.fire(node);
    }
}

}  // namespace detail
CHAINRING_END_NAMESPACE
