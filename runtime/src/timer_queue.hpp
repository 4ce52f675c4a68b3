// SPDX-License-Identifier: BSL-1.0
// TimerQueue: the exact timers of one worker, a 4-ary min-heap of nodes that live in what waits. Each node knows its
// position, so cancelling is O(log n) without search. Owner thread only; no allocation except the heap's growth.
//
// A Link does not come here for each receive: it keeps one entry, renews its deadline by storing it, and the entry
// is looked at again when it falls due (net/src/link_state).
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include <cstddef>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class TimerQueue {
public:
    // Arms the node for `when`; an armed node is moved. May throw std::bad_alloc only when the heap has to grow.
    void arm(TimerNode& node, Instant when);
    void cancel(TimerNode& node) noexcept;

    bool empty() const noexcept { return heap_.empty(); }
    std::size_t size() const noexcept { return heap_.size(); }
    // Instant::max() when empty.
    Instant next() const noexcept { return heap_.empty() ? Instant::max() : heap_.front()->when; }
    // Fires what is due at `now`, earliest first. A node that fires may arm itself and others again.
    void expire(Instant now) noexcept;

private:
    static constexpr std::size_t arity = 4;
    void place(std::size_t position, TimerNode& node) noexcept;
    void sift_up(std::size_t position) noexcept;
    void sift_down(std::size_t position) noexcept;

    std::vector<TimerNode*> heap_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
