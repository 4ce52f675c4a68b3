// SPDX-License-Identifier: BSL-1.0
// TokenLevel: how many tokens a bucket holds, in integers without drift. Not for users: TokenBucket guards it.
//
// The level is kept in parts of a token: 10^9 of them, so that `per_second` tokens a second are exactly `per_second`
// parts a nanosecond, and no remainder is ever dropped. It may be negative: tokens that were taken ahead of their time.
// The bounds below keep every sum within 63 bits.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include <algorithm>
#include <cstdint>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class TokenLevel {
public:
    static constexpr std::uint64_t most_per_second = std::uint64_t{1} << 40;
    static constexpr std::uint64_t most_tokens = std::uint64_t{1} << 32;  // of a burst, of one take, of the debt

    // Full. Within the bounds, and neither is 0.
    TokenLevel(std::uint64_t per_second, std::uint64_t burst) noexcept
        : rate_(static_cast<std::int64_t>(per_second)), full_(parts_of(burst)), level_(full_) {}

    // Adds what has come since the last call. A time that lies before the last one counts as no time.
    void advance(Instant now) noexcept {
        if (level_ == full_) {
            at_ = now;  // also the first call: a bucket begins full, at no particular time
            return;
        }
        if (now <= at_) return;
        const std::int64_t elapsed = (now - at_).count();
        const std::int64_t missing = full_ - level_;
        level_ = elapsed > missing / rate_ ? full_ : level_ + elapsed * rate_;
        at_ = now;
    }

    // Whether `tokens` may be taken now. More than the burst: when the bucket is full.
    bool covers(std::uint64_t tokens) const noexcept { return level_ >= wanted(tokens); }
    void charge(std::uint64_t tokens) noexcept {
        level_ = std::max(level_ - parts_of(std::min(tokens, most_tokens)), -parts_of(most_tokens));
    }
    bool take(std::uint64_t tokens) noexcept {
        if (!covers(tokens)) return false;
        charge(tokens);
        return true;
    }

    // How long after the last advance() it covers `tokens`; 0: now.
    Duration until(std::uint64_t tokens) const noexcept {
        const std::int64_t missing = wanted(tokens) - level_;
        return Duration(missing <= 0 ? 0 : (missing - 1) / rate_ + 1);
    }

    std::uint64_t whole() const noexcept { return level_ <= 0 ? 0 : static_cast<std::uint64_t>(level_ / part); }
    bool full() const noexcept { return level_ == full_; }

private:
    static constexpr std::int64_t part = 1'000'000'000;
    static_assert(static_cast<std::int64_t>(most_tokens) <= INT64_MAX / part / 2);

    static std::int64_t parts_of(std::uint64_t tokens) noexcept { return static_cast<std::int64_t>(tokens) * part; }
    std::int64_t wanted(std::uint64_t tokens) const noexcept {
        return std::min(parts_of(std::min(tokens, most_tokens)), full_);
    }

    std::int64_t rate_;  // parts a nanosecond
    std::int64_t full_;
    std::int64_t level_;
    Instant at_{};  // when `level_` was right
};

}  // namespace detail
CHAINRING_END_NAMESPACE
