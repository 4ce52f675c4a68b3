// SPDX-License-Identifier: BSL-1.0
// WakeCost: how long it takes of late from the system call that wakes this worker until it runs again: the median, as
// steps of a sixteenth towards each sample find it, so that a worker that the system kept waiting for milliseconds
// moves it no further than another. Spinning for as long before parking costs at most twice what knowing the future
// would (Karlin, Manasse, McGeoch, Owicki: Competitive randomized algorithms for nonuniform problems, 1990).
//
// The thread that wakes calls sent() before its system call, the worker announced() before it parks and arrived() after
// it. A sent() that comes late, when the worker has been woken by something else, is forgotten, or makes one wrong
// sample.
#pragma once

#include <chainring/config.hpp>
#include <chainring/task_context.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class WakeCost {
public:
    static constexpr Duration least = std::chrono::microseconds(2);
    static constexpr Duration most = std::chrono::microseconds(50);

    explicit WakeCost(Duration first) noexcept : value_(first) {}

    // The thread that wakes.
    void sent(Instant now) noexcept { sent_.store(now.time_since_epoch().count(), std::memory_order_relaxed); }

    // The worker.
    void announced() noexcept { sent_.store(0, std::memory_order_relaxed); }
    bool was_sent() const noexcept { return sent_.load(std::memory_order_relaxed) != 0; }
    void arrived(Instant now) noexcept {
        const Duration sample = now.time_since_epoch() - Duration(sent_.load(std::memory_order_relaxed));
        if (sample > value_) value_ = std::min(most, value_ + value_ / 16);
        if (sample < value_) value_ = std::max(least, value_ - value_ / 16);
    }
    Duration value() const noexcept { return value_; }

private:
    std::atomic<Duration::rep> sent_{0};  // 0: no wake is on its way
    Duration value_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
