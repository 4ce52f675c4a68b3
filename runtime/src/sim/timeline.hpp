// SPDX-License-Identifier: BSL-1.0
// Timeline: the virtual clock of a simulated world and what is to happen in it. Time stands still while code runs, and
// moves only in advance_to(). One thread.
//
// Two ways to have something happen:
//   TimedEvent      embedded in what it happens to, which schedules and moves it without any allocation
//   call_at()  a callable of the moment; for what happens rarely
// What is due at one instant happens in the order in which it was scheduled, so that the order never depends on where
// objects lie in memory.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

class Timeline;

// Stays where it is, and is owned by what it is part of, which cancels it before it goes.
class TimedEvent {
public:
    using Fire = void (*)(TimedEvent&) noexcept;
    explicit TimedEvent(Fire fire) noexcept : fire_(fire) {}
    TimedEvent(const TimedEvent&) = delete;
    TimedEvent& operator=(const TimedEvent&) = delete;
    bool scheduled() const noexcept { return position_ != none; }

private:
    friend class Timeline;
    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
    Fire fire_;
    std::size_t position_ = none;  // in the timeline's heap
};

// What call_at() gave; a default one is nothing's.
struct CallId {
    std::uint32_t index = 0;
    std::uint32_t generation = 0;
};

class Timeline {
public:
    // A moment that is neither zero nor round, so that arithmetic with "no time at all" is seen.
    static constexpr Instant start = Instant(std::chrono::seconds(1'000));

    Timeline() = default;
    Timeline(const Timeline&) = delete;
    Timeline& operator=(const Timeline&) = delete;

    Instant now() const noexcept { return now_; }
    Duration since_start() const noexcept { return now_ - start; }

    // A scheduled event is moved, behind what is already due at `when`. An instant that has passed means now: it
    // happens in the next advance_to().
    void schedule(TimedEvent& event, Instant when);
    void cancel(TimedEvent& event) noexcept;

    CallId call_at(Instant when, std::function<void()> call);
    bool cancel(CallId id) noexcept;  // false: it has happened, or was cancelled before

    // When the next thing happens; Instant::max() when nothing will.
    Instant next() const noexcept { return heap_.empty() ? Instant::max() : heap_.front().when; }
    // A running task spends so much: nothing happens meanwhile; what falls due is late.
    void spend(Duration duration) noexcept { now_ += duration; }
    // Lets time pass: everything that is due up to and at `when` happens, each thing at its own instant, also what is
    // scheduled meanwhile. Does not go back.
    void advance_to(Instant when);
    std::uint64_t happened() const noexcept { return happened_; }

private:
    struct Entry {
        Instant when;
        std::uint64_t order;
        TimedEvent* event;
        bool before(const Entry& other) const noexcept {
            return when != other.when ? when < other.when : order < other.order;
        }
    };
    struct Call : TimedEvent {
        explicit Call(Timeline& on) noexcept : TimedEvent(run), timeline(&on) {}
        static void run(TimedEvent& event) noexcept;
        Timeline* timeline;
        std::function<void()> call;
        std::uint32_t index = 0;
        std::uint32_t generation = 1;
    };

    void put(std::size_t position, const Entry& entry) noexcept;
    void sift_up(std::size_t position, const Entry& entry) noexcept;
    void sift_down(std::size_t position, const Entry& entry) noexcept;

    Instant now_ = start;
    std::uint64_t order_ = 0;
    std::uint64_t happened_ = 0;
    std::vector<Entry> heap_;
    std::vector<std::unique_ptr<Call>> calls_;
    std::vector<std::uint32_t> free_calls_;
};

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
