// SPDX-License-Identifier: BSL-1.0
// ClaimWord: completion, limit, cancel and close meet at one wait, and one of them ends it.
#include <chainring/claim.hpp>

#include "tests/model/checker/explore.hpp"

#include <array>
#include <doctest/doctest.h>

using chainring::detail::Wake;
using Claim = chainring::detail::ClaimWord<model::Atomic>;

TEST_CASE("one of four contenders wins a wait, and the task sees what the winner stored") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Claim claim;
        std::array<model::Data<int>, 6> stored;
        unsigned winners = 0;
        const auto contend = [&](Wake why) {
            stored[std::size_t(why)] = int(why);
            if (claim.try_claim(why)) ++winners;
        };
        auto completion = model::spawn([&] { contend(Wake::completed); });
        auto limit = model::spawn([&] { contend(Wake::timed_out); });
        auto cancel = model::spawn([&] { contend(Wake::cancelled); });
        auto close = model::spawn([&] { contend(Wake::closed); });
        while (claim.outcome() == Wake::none) model::yield();
        const Wake outcome = claim.outcome();
        model::check(stored[std::size_t(outcome)] == int(outcome), "what the winner stored");
        completion.join();
        limit.join();
        cancel.join();
        close.join();
        model::check(winners == 1, "exactly one wins");
        model::check(claim.outcome() == outcome, "the outcome stands");
    }));
}

TEST_CASE("who loses a claim sees what the winner had stored before") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Claim claim;
        model::Data<int> by_completion, by_cancel;
        auto completion = model::spawn([&] {
            by_completion = 1;
            if (!claim.try_claim(Wake::completed)) model::check(by_cancel == 2, "what the cancel stored");
        });
        by_cancel = 2;
        if (!claim.try_claim(Wake::cancelled)) model::check(by_completion == 1, "what the completion stored");
    }));
}

// As in WaitList: the granter hands over after its claim and before the wake; the one who cancels frees the wait.
TEST_CASE("the winner alone touches the wait") {
    CHECK(model::holds({.preemptions = 3}, [] {
        struct Wait {
            Claim claim;
            model::Data<int> value{0};
            model::Atomic<bool> woken{false};
        };
        Wait wait;
        auto granter = model::spawn([&] {
            if (!wait.claim.try_claim(Wake::completed)) return;
            wait.value = 7;
            wait.woken.store(true, std::memory_order_release);
        });
        if (wait.claim.try_claim(Wake::cancelled)) {
            wait.value = -1;
        } else {
            while (!wait.woken.load(std::memory_order_acquire)) model::yield();
            model::check(wait.value == 7, "what was granted is delivered");
        }
    }));
}
