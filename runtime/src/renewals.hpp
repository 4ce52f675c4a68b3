// SPDX-License-Identifier: BSL-1.0
// Renewals: the limits that tasks have begun in one pass of a worker's loop, on RenewedTimers. The clock is read once
// for all of them, at the end of the pass: a reading costs ten times what the rest of a renewal does. A duration counts
// from that reading: never early, and late by at most what was left of the pass. Owner thread only.
//
//     renewals.add(timer, limit);                         // any number of times in a pass, the last one holds
//     if (!renewals.empty()) renewals.stamp(queue, now);  // at its end
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include "runtime/src/timer_queue.hpp"

#include <array>
#include <cstddef>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class Renewals {
public:
    static constexpr std::size_t capacity = 64;

    bool empty() const noexcept { return count_ == 0; }
    bool full() const noexcept { return count_ == capacity; }
    // Not when full. The timer must live until stamp(), and must not fire before.
    void add(RenewedTimer& timer, const Limit& limit) noexcept {
        __builtin_prefetch(&timer, 1);
        renewals_[count_++] = {&timer, limit};
    }
    // May throw as TimerQueue::arm() does.
    void stamp(TimerQueue& queue, Instant now) {
        for (std::size_t at = 0; at < count_; ++at) queue.renew(*renewals_[at].timer, renewals_[at].limit.from(now));
        count_ = 0;
    }

private:
    struct Renewal {
        RenewedTimer* timer = nullptr;
        Limit limit;
    };
    std::size_t count_ = 0;
    std::array<Renewal, capacity> renewals_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
