// SPDX-License-Identifier: BSL-1.0
// Interval: ticks at a steady pace, without drift: the n-th tick is due at start + n * period, whatever the work
// between them takes. The first is due one period after the Interval was made.
//
// tick() completes when the next tick is due, never before; yields true, or false when the task was cancelled or its
// deadline has come. A task that comes too late for a tick gets it at once; and those behind it that are past as well:
//   burst  follow at once too, until it has caught up: none is lost
//   skip   are left out; the next is on the grid of start + n * period, the first one not yet past
//   delay  are left out; the pace begins anew, the next is one period from now
// missed() counts the ticks left out.
//
// For one task; not copied. Monotonic time: setting the wall clock has no effect.
//
//     Interval heartbeat(1s, Missed::skip);
//     while (co_await heartbeat.tick()) beat();
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include <cstdint>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

enum class Missed : std::uint8_t { burst, skip, delay };

class Interval {
public:
    // Traps when the period is not positive.
    explicit Interval(Duration period, Missed missed = Missed::burst) noexcept;
    Interval(const Interval&) = delete;
    Interval& operator=(const Interval&) = delete;

    // A tick that is cut short, or loses in when_any, is not taken: the next tick() waits for the same one.
    class [[nodiscard]] Tick : public Sleep {
    public:
        explicit Tick(Interval& interval) noexcept;
        bool await_resume() const noexcept {
            const bool due = Sleep::await_resume();
            if (due) interval_.take(begun_);
            return due;
        }
        template <class Token>
        detail::StopOn<Tick, Token> stop_on(Token token) && noexcept {
            return detail::StopOn<Tick, Token>(std::move(*this), std::move(token));
        }

    private:
        Interval& interval_;
        Instant begun_;
    };
    Tick tick() noexcept { return Tick(*this); }
    // When the tick that tick() would wait for now is due.
    Instant due() const noexcept { return due_; }
    Duration period() const noexcept { return period_; }
    std::uint64_t missed() const noexcept { return missed_count_; }

private:
    void take(Instant asked) noexcept;

    Duration period_;
    Instant due_;
    std::uint64_t missed_count_ = 0;
    Missed missed_;
};

CHAINRING_END_NAMESPACE
