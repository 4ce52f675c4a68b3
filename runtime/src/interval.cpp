// SPDX-License-Identifier: BSL-1.0
#include <chainring/interval.hpp>
#include <chainring/trap.hpp>

#include <utility>

CHAINRING_BEGIN_NAMESPACE

Interval::Interval(Duration period, Missed missed) noexcept : period_(period), missed_(missed) {
    CHAINRING_REQUIRE(period > Duration::zero(), "an Interval has a positive period");
    due_ = now() + period;
}

Sleep Interval::tick() noexcept {
    const Instant time = now();
    const Instant due = due_;
    const auto behind = time > due ? (time - due) / period_ : 0;  // further ticks that are past as well
    due_ = due + period_;
    if (missed_ != Missed::burst) {
        missed_count_ += static_cast<std::uint64_t>(behind);
        if (missed_ == Missed::skip) due_ += behind * period_;
        if (missed_ == Missed::delay && time > due) due_ = time + period_;
    }
    return sleep_until(due);
}

CHAINRING_END_NAMESPACE
