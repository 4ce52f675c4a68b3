// SPDX-License-Identifier: BSL-1.0
#include <chainring/interval.hpp>
#include <chainring/trap.hpp>

CHAINRING_BEGIN_NAMESPACE

using detail::after;

Interval::Interval(Duration period, Missed missed) noexcept : period_(period), missed_(missed) {
    CHAINRING_REQUIRE(period > Duration::zero(), "an Interval has a positive period");
    due_ = after(now(), period);
}

Interval::Tick::Tick(Interval& interval) noexcept
    : Sleep(detail::Limit(interval.due_)), interval_(interval), begun_(now()) {}

// The tick that was waited for since `asked` has come.
void Interval::take(Instant asked) noexcept {
    const Instant due = due_;
    const auto behind = asked > due ? (asked - due) / period_ : 0;  // further ticks that were past as well
    due_ = after(due, period_);
    if (missed_ == Missed::burst) return;
    missed_count_ += static_cast<std::uint64_t>(behind);
    if (missed_ == Missed::skip) due_ = after(due_, behind * period_);
    if (missed_ == Missed::delay && asked > due) due_ = after(asked, period_);
}

CHAINRING_END_NAMESPACE
