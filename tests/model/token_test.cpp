// SPDX-License-Identifier: BSL-1.0
// TokenCore: everybody who is patient gets tokens, at the rate and in line; whoever has the turn and goes passes it on,
// also when the turn was on its way to one that had been cancelled meanwhile.
#include <chainring/token_core.hpp>

#include "tests/model/waits.hpp"

#include <algorithm>
#include <array>
#include <doctest/doctest.h>
#include <memory>

using namespace model;
using chainring::Duration;
using chainring::Instant;

namespace {

constexpr std::uint64_t one_a_nanosecond = 1'000'000'000;

struct TokenEntry : chainring::detail::WaitLinks<TokenEntry> {
    bool try_claim(Wake why) noexcept { return claim.try_claim(why); }

    ClaimWord<Atomic> claim;
    Atomic<bool> woken{false};  // for the post to the waiter's worker
    Nobody* task = nullptr;
    std::uint64_t tokens = 1;
    Instant end = Instant::max();
    bool paid = false;
    bool has_turn = false;
};
using TokenList = chainring::detail::WaitList<TokenEntry, Mutex, Nobody>;
using Core = chainring::detail::TokenCore<TokenList>;

enum class Mood { patient, cancelled, late };

// A bucket of burst 1, its time, and those who take from it. Time passes when somebody's timer fires.
struct Bucket {
    auto clock() {
        return [this] { return Instant(time); };
    }
    static void wake(Core::Grants& granted) {
        while (TokenEntry* entry = granted.take())
            entry->woken.store(true, std::memory_order_release);  // after it the entry may be gone
    }

    // As TokenWait; the calling thread is the task and its worker. `late`: its limit has come as soon as it waits.
    Wake take(Mood mood, std::uint64_t tokens = 1) {
        const auto entry = std::make_unique<TokenEntry>();
        entry->tokens = tokens;
        if (mood == Mood::late) entry->end = Instant(time);
        Instant next{};
        const Wake outcome = core.take(*entry, clock(), [&](Instant at) noexcept { next = at; })
                                 ? Wake::completed
                                 : wait(*entry, mood, next);
        taken += outcome == Wake::completed ? tokens : 0;
        return outcome;
    }
    Wake wait(TokenEntry& entry, Mood mood, Instant next) {
        Core::Grants granted;
        if (!entry.has_turn) {
            if (mood != Mood::patient) {
                const Wake why = mood == Mood::late ? Wake::timed_out : Wake::cancelled;
                if (entry.try_claim(why)) {
                    core.waiting().leave(entry);
                    return why;
                }
            }
            while (!entry.woken.load(std::memory_order_acquire))
                wait_until([&] { return entry.woken.load(); }, "for its turn");
            if (entry.paid) return Wake::completed;
            const Wake why = core.begin_turn(entry, mood == Mood::cancelled, clock(), next, granted);
            wake(granted);
            if (why != Wake::none) return why;
        }
        for (;;) {
            time = std::max(time, next.time_since_epoch());  // its timer fires
            const Wake end = mood == Mood::cancelled ? Wake::cancelled : Wake::timed_out;
            const Wake why = core.end_turn(entry, end, clock(), next, granted);
            wake(granted);
            if (why != Wake::none) return why;
        }
    }
    void settle() {
        check(core.nobody_waits() && core.waiting().gone_quiet(), "nobody is left in line");
        // The burst, and one for each nanosecond that has passed.
        check(taken <= 1 + static_cast<std::uint64_t>(time.count()), "the rate holds");
    }

    Core core{one_a_nanosecond, 1};
    Duration time{};
    std::uint64_t taken = 0;
};

}  // namespace

TEST_CASE("tokens: the patient get theirs at the rate, whoever is cancelled or late before, between or behind them") {
    for (const Mood mood : {Mood::patient, Mood::cancelled, Mood::late}) {
        CHECK(holds({.preemptions = 2}, [mood] {
            Bucket bucket;
            check(bucket.take(Mood::patient) == Wake::completed, "it begins full");
            {
                auto one = spawn([&] { check(bucket.take(Mood::patient) == Wake::completed, "it gets a token"); });
                auto other = spawn([&] { bucket.take(mood); });
                auto two = spawn([&] { check(bucket.take(Mood::patient) == Wake::completed, "it gets a token"); });
            }
            check(bucket.taken >= 3, "nobody is forgotten");
            bucket.settle();
        }));
    }
}

TEST_CASE(
    "tokens: one that wants more than the burst, and what is charged meanwhile, hold up those behind, and no longer") {
    CHECK(holds({.preemptions = 3}, [] {
        Bucket bucket;
        check(bucket.take(Mood::patient) == Wake::completed, "it begins full");
        {
            auto large = spawn([&] { check(bucket.take(Mood::patient, 3) == Wake::completed, "it gets into debt"); });
            auto small = spawn([&] { check(bucket.take(Mood::patient) == Wake::completed, "it gets a token"); });
            bucket.core.look(bucket.clock(), [&](chainring::detail::TokenLevel& level) { level.charge(1); });
            ++bucket.taken;
            check(!bucket.core.try_take(1, bucket.clock()) || ++bucket.taken, "nobody overtakes those who wait");
        }
        check(bucket.taken >= 6, "nobody is forgotten");
        check(bucket.core.nobody_waits(), "nobody is left in line");
    }));
}
