// SPDX-License-Identifier: BSL-1.0
// RenewedTimer: a deadline that is renewed far more often than it passes, such as a Link's limit on each receive. It
// keeps one entry in the timer queue; a renewal only stores the new deadline, and the entry, when it falls due, is
// armed again if the deadline has moved on. Owner thread only.
//
// Renewals: the clock is read once for all renewals of one pass of the loop, at its end, not at each (a reading costs
// more than all the rest of a renewal). A deadline counts from that reading: never early, and late by at most what was
// left of the pass. Until then the timer's deadline holds the duration, marked by its sign.
//
//     renewals.add(timer, 30s);                          // any number of times in a pass
//     if (renewals.any()) renewals.stamp(queue, now());  // at its end
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include "runtime/src/timer_queue.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class RenewedTimer : public TimerNode {
public:
    // The deadline is this now, whatever it was. May throw as TimerQueue::arm() does.
    void renew(TimerQueue& queue, Instant deadline) {
        deadline_ = std::max(deadline, Instant());
        if (!armed() || when > deadline_) queue.arm(*this, deadline_);
    }
    // No deadline; the entry is left to fall due.
    void stop() noexcept { deadline_ = Instant::max(); }

    // To be asked when the entry has fired: has the deadline passed? If it is still to come, the entry is armed again.
    bool passed(TimerQueue& queue, Instant now) {
        if (deadline_ == Instant::max() || fresh()) return false;
        if (deadline_ <= now) return true;
        queue.arm(*this, deadline_);
        return false;
    }

private:
    friend class Renewals;
    // Renewed in this pass and not stamped yet: the deadline is ~duration, below zero.
    bool fresh() const noexcept { return deadline_ < Instant(); }
    void freshen(Duration duration) noexcept {
        deadline_ = Instant(Duration(~std::max(duration, Duration::zero()).count()));
    }
    Duration duration() const noexcept { return Duration(~deadline_.time_since_epoch().count()); }

    Instant deadline_ = Instant::max();
};
static_assert(sizeof(RenewedTimer) == 32, "it is part of each Link");

class Renewals {
public:
    static constexpr std::size_t capacity = 64;

    // The timer's deadline is `duration` after the moment of the next stamp(), and none until then. The timer must
    // live until it. False: there is no room, and nothing has been done.
    bool add(RenewedTimer& timer, Duration duration) noexcept {
        if (count_ == capacity) return false;
        timer.freshen(duration);
        timers_[count_++] = &timer;
        return true;
    }
    bool any() const noexcept { return count_ > 0; }
    void stamp(TimerQueue& queue, Instant now) {
        for (std::size_t at = 0; at < count_; ++at) {
            RenewedTimer& timer = *timers_[at];
            if (!timer.fresh()) continue;  // stopped, or renewed twice
            const Duration duration = timer.duration();
            timer.renew(queue, duration > Instant::max() - now ? Instant::max() : now + duration);
        }
        count_ = 0;
    }

private:
    std::size_t count_ = 0;
    std::array<RenewedTimer*, capacity> timers_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
