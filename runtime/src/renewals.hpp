// SPDX-License-Identifier: BSL-1.0
// Renewals: the limits that tasks have begun in one pass of a worker's loop, on RenewedTimers. The clock is read once
// for all of them, at the end of the pass: a reading costs ten times what the rest of a renewal does. A duration counts
// from that reading: never early, and late by at most what was left of the pass. Owner thread only.
//
//     if (renewals.full()) ...                            // then stamp first
//     renewals.add(timer, limit);                         // any number of times in a pass, the last one holds
//     if (!renewals.empty()) renewals.stamp(queue, now);  // at its end
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include "runtime/src/timer_queue.hpp"

#include <array>
#include <cstddef>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class Renewals {
public:
    static constexpr std::size_t capacity = 64;

    Renewals() noexcept = default;
    Renewals(const Renewals&) = delete;
    Renewals& operator=(const Renewals&) = delete;

    bool empty() const noexcept { return end_ == renewals_.data(); }
    bool full() const noexcept { return end_ == full_; }
    // Not when full. The timer must live until stamp(), and must not fire before.
    void add(RenewedTimer& timer, const Limit& limit) noexcept {
        __builtin_prefetch(&timer, 1);
        *end_++ = {&timer, limit};
    }
    // From now on it is always full.
    void close() noexcept { full_ = end_; }
    // May throw as TimerQueue::arm() does.
    void stamp(TimerQueue& queue, Instant now) {
        const Renewal* const end = std::exchange(end_, renewals_.data());
        for (const Renewal* at = renewals_.data(); at != end; ++at) queue.renew(*at->timer, at->limit.from(now));
    }

private:
    struct Renewal {
        RenewedTimer* timer = nullptr;
        Limit limit;
    };
    std::array<Renewal, capacity> renewals_;
    Renewal* end_ = renewals_.data();  // of those that are noted
    const Renewal* full_ = renewals_.data() + capacity;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
