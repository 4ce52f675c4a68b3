// SPDX-License-Identifier: BSL-1.0
// ManualClock: time for tests that stands still until it is told to move. A Runtime whose options name one takes all
// its time from it: sleeps, limits and timeouts end when the clock is advanced past them, and at no other moment.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include <atomic>
#include <mutex>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

class Runtime;

class ManualClock {
public:
    // Starts at an arbitrary instant, the same in every run.
    ManualClock() noexcept = default;
    ManualClock(const ManualClock&) = delete;
    ManualClock& operator=(const ManualClock&) = delete;

    Instant now() const noexcept { return Instant(Duration(now_.load(std::memory_order_acquire))); }

    // Moves the clock forward and wakes the runtimes that use it. Any thread. What falls due runs afterwards, on its
    // worker: a task that advances the clock sees the effect once it awaits something.
    void advance(Duration duration) noexcept;

private:
    friend class Runtime;
    void attach(Runtime& runtime);
    void detach(Runtime& runtime) noexcept;

    std::atomic<Duration::rep> now_{1'000'000'000'000};  // written by advance, read by every worker; release/acquire
    std::mutex mutex_;                                   // guards runtimes_
    std::vector<Runtime*> runtimes_;
};

CHAINRING_END_NAMESPACE
