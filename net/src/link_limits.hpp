// SPDX-License-Identifier: BSL-1.0
// LinkLimits: the limits that a Link may have beside those of its operations: how long it may be idle, and when it is
// reset in any case. Few Links have them: a block of its own, made by the first call of close_when_idle or
// force_close_after and freed with the slot. Being idle is a RenewedTimer: what arrives only stores a deadline.
//
// Threads: any task that uses the handle asks (`asked_*`, then a bit for home); everything else is home's.
#pragma once

#include <chainring/link.hpp>

#include "runtime/src/timer_queue.hpp"

#include <atomic>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

struct LinkLimits {
    explicit LinkLimits(LinkState& of) noexcept;
    struct Idle : RenewedTimer {
        LinkState* link = nullptr;
    } idle;
    struct Force : TimerNode {
        LinkState* link = nullptr;
    } force;
    Limit idle_for;

    // Written before the bit is set, which publishes them; the latest call counts.
    std::atomic<Duration::rep> asked_idle{0};
    std::atomic<IdleMeans> asked_means{IdleMeans::nothing_received};
    std::atomic<Duration::rep> asked_force{0};
};

}  // namespace detail
CHAINRING_END_NAMESPACE
