// SPDX-License-Identifier: BSL-1.0
// Rates: how many tokens there are at any instant, and who gets them.
#include <chainring/token_level.hpp>

#include "tests/unit/waits.hpp"

#include <array>
#include <memory>
#include <vector>

using namespace support;

namespace {

constexpr Instant start = Instant(24h);

Task<> take_as(TokenBucket* bucket, std::uint64_t tokens, int name, std::vector<int>* order) {
    auto taken = co_await bucket->take(tokens);
    if (taken) order->push_back(name);
}

Task<> take_within(TokenBucket* bucket, std::uint64_t tokens, Duration limit, Ended* ended) {
    auto taken = co_await bucket->take(tokens).within(limit);
    ended->yes = true;
    ended->error = taken.error();
}

// A runtime of one worker whose time stands still.
template <class Fn>
void at_a_standstill(Fn fn, unsigned workers = 1) {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.workers = workers;
    options.clock = &clock;
    in_runtime_with(options, fn, &clock);
}

Task<> step(ManualClock* clock, Duration by) {
    clock->advance(by);
    co_await passes(3);
}

}  // namespace

TEST_CASE("tokens come exactly as fast as they should, whatever the steps in which time is looked at") {
    for (const std::uint64_t rate : {std::uint64_t{1}, std::uint64_t{3}, std::uint64_t{1'250'000},
                                     std::uint64_t{999'999'999'999}, detail::TokenLevel::most_per_second}) {
        CAPTURE(rate);
        detail::TokenLevel level(rate, detail::TokenLevel::most_tokens);
        level.advance(start);
        CHECK(level.whole() == detail::TokenLevel::most_tokens);
        level.charge(detail::TokenLevel::most_tokens);
        CHECK(level.whole() == 0);
        Instant at = start;
        for (const int nanoseconds : {1, 1, 7, 1000, 13, 999, 1'000'003}) level.advance(at += Duration(nanoseconds));
        const auto elapsed = static_cast<std::uint64_t>((at - start).count());
        // elapsed * rate may not fit in 64 bits; each second's worth of it does
        const std::uint64_t expected = rate / 1'000'000'000 * elapsed + rate % 1'000'000'000 * elapsed / 1'000'000'000;
        CHECK(level.whole() == std::min(expected, detail::TokenLevel::most_tokens));
    }
}

TEST_CASE("a wait is told to the nanosecond, and is never a nanosecond too short") {
    for (const std::uint64_t rate : {1U, 3U, 7U, 1000U, 1'250'000U, 2'000'000'011U}) {
        for (const std::uint64_t tokens : {1U, 2U, 10U, 4096U}) {
            CAPTURE(rate);
            CAPTURE(tokens);
            detail::TokenLevel level(rate, 4096);
            level.advance(start);
            level.charge(4096);
            const Duration wait = level.until(tokens);
            level.advance(start + wait - 1ns);
            CHECK(!level.covers(tokens));
            level.advance(start + wait);
            CHECK(level.covers(tokens));
            CHECK(level.until(tokens) == 0ns);
        }
    }
}

TEST_CASE("a level never exceeds the burst, bears the largest debt, and takes no harm from time that goes back") {
    detail::TokenLevel level(detail::TokenLevel::most_per_second, detail::TokenLevel::most_tokens);
    level.advance(start);
    for (int time = 0; time < 5; ++time) level.charge(UINT64_MAX);
    CHECK(level.whole() == 0);
    CHECK(level.until(UINT64_MAX) == 7812500ns);  // twice 2^32 at 2^40 a second
    level.advance(start - 1h);
    CHECK(level.whole() == 0);
    level.advance(Instant::max());
    CHECK(level.whole() == detail::TokenLevel::most_tokens);
    CHECK(level.full());
}

TEST_CASE("the burst is there at once, then each token in its time") {
    at_a_standstill([](ManualClock* clock) -> Task<> {
        TokenBucket bucket(10, 3);
        for (int token = 0; token < 3; ++token) CHECK(bucket.try_take());
        CHECK(!bucket.try_take());
        CHECK(bucket.time_until() == 100ms);
        Ended ended;
        Scope scope;
        scope.spawn(take_within, &bucket, std::uint64_t{2}, Duration(1h), &ended);
        co_await passes(3);
        co_await step(clock, 199ms);
        CHECK(!ended.yes);
        co_await step(clock, 1ms);
        CHECK(ended.yes);
        CHECK(!ended.error);
        CHECK(bucket.available() == 0);
        co_await scope.join();
        co_await step(clock, 1h);
        CHECK(bucket.available() == 3);
        CHECK(bucket.idle());
    });
}

TEST_CASE("more than the burst waits for a full bucket and leaves a debt") {
    at_a_standstill([](ManualClock* clock) -> Task<> {
        TokenBucket bucket(100, 10);
        auto whole = co_await bucket.take(1000).within(0s);
        CHECK(whole);
        CHECK(bucket.time_until(10) == 10s);
        std::vector<int> order;
        Scope scope;
        scope.spawn(take_as, &bucket, std::uint64_t{1}, 1, &order);
        co_await passes(2);
        co_await step(clock, 9909ms);
        CHECK(order.empty());
        co_await step(clock, 1ms);
        CHECK(order.size() == 1);
        co_await scope.join();
    });
}

TEST_CASE("waits end in the order in which they began, however little the later ones ask for") {
    at_a_standstill([](ManualClock* clock) -> Task<> {
        TokenBucket bucket(10, 10);
        CHECK(bucket.try_take(10));
        std::vector<int> order;
        Scope scope;
        scope.spawn(take_as, &bucket, std::uint64_t{10}, 1, &order);
        scope.spawn(take_as, &bucket, std::uint64_t{1}, 2, &order);
        scope.spawn(take_as, &bucket, std::uint64_t{5}, 3, &order);
        scope.spawn(take_as, &bucket, std::uint64_t{1}, 4, &order);
        co_await passes(2);
        co_await step(clock, 500ms);
        CHECK(!bucket.try_take());  // five are there, and belong to the first
        CHECK(order.empty());
        co_await step(clock, 500ms);
        CHECK(order == std::vector{1});
        co_await step(clock, 700ms);
        CHECK(order == std::vector{1, 2, 3, 4});
        co_await scope.join();
    });
}

TEST_CASE("one that leaves, by its limit or a cancel, takes nothing, and those behind it move up") {
    at_a_standstill([](ManualClock* clock) -> Task<> {
        TokenBucket bucket(1, 100);
        CHECK(bucket.try_take(100));
        Ended late;
        std::vector<int> order;
        Scope patient;
        Scope impatient;
        impatient.spawn(take_as, &bucket, std::uint64_t{90}, 1, &order);
        co_await passes(2);
        patient.spawn(take_within, &bucket, std::uint64_t{80}, Duration(3s), &late);
        patient.spawn(take_as, &bucket, std::uint64_t{4}, 2, &order);
        patient.spawn(take_as, &bucket, std::uint64_t{1}, 3, &order);
        co_await passes(2);
        co_await step(clock, 3s);
        CHECK(late.error == Errc::timed_out);
        CHECK(order.empty());
        impatient.cancel();
        co_await impatient.join();
        co_await passes(3);
        CHECK(order.empty());
        co_await step(clock, 1s);
        CHECK(order == std::vector{2});
        co_await step(clock, 1s);
        CHECK(order == std::vector{2, 3});
        co_await patient.join();
    });
}

TEST_CASE("the first in line ends with its limit, too, and with its tokens if they are there by then") {
    at_a_standstill([](ManualClock* clock) -> Task<> {
        TokenBucket bucket(1, 10);
        CHECK(bucket.try_take(10));
        Ended early;
        Ended exact;
        Scope scope;
        scope.spawn(take_within, &bucket, std::uint64_t{5}, Duration(4999ms), &early);
        co_await passes(2);
        co_await step(clock, 4999ms);
        CHECK(early.error == Errc::timed_out);
        scope.spawn(take_within, &bucket, std::uint64_t{5}, Duration(1ms), &exact);
        co_await passes(2);
        co_await step(clock, 1ms);
        CHECK(exact.yes);
        CHECK(!exact.error);
        co_await scope.join();
    });
}

TEST_CASE("tokens that are charged meanwhile make the first in line wait longer") {
    at_a_standstill([](ManualClock* clock) -> Task<> {
        TokenBucket bucket(10, 10);
        bucket.charge(10);
        std::vector<int> order;
        Scope scope;
        scope.spawn(take_as, &bucket, std::uint64_t{10}, 1, &order);
        co_await passes(2);
        bucket.charge(10);
        co_await step(clock, 1s);
        CHECK(order.empty());
        co_await step(clock, 1s);
        CHECK(order.size() == 1);
        co_await scope.join();
    });
}

TEST_CASE("a cancelled task takes nothing, and a stop token ends the wait") {
    in_runtime([]() -> Task<> {
        TokenBucket bucket(1, 1);
        std::vector<int> order;
        co_await cancelled_before(take_as, &bucket, std::uint64_t{1}, 1, &order);
        CHECK(bucket.available() == 1);
        CHECK(bucket.try_take());
        co_await cancelled_while_waiting(take_as, &bucket, std::uint64_t{1}, 1, &order);
        CHECK(order.empty());
        StopSource source;
        source.request_stop();
        auto stopped = co_await bucket.take().stop_on(source.token());
        CHECK(stopped.error() == Errc::cancelled);
    });
}

TEST_CASE("a bucket keeps its rate and loses nobody, among tasks on two workers that come, wait and are cancelled") {
    in_rounds(
        [](unsigned seed) -> Task<> {
            Dice dice(seed);
            const std::uint64_t burst = 1 + dice.below(4);
            constexpr std::uint64_t most = 6;
            auto bucket = std::make_unique<TokenBucket>(1'000'000, burst);
            std::array<Ended, 6> ended;
            std::array<std::uint64_t, 6> tokens{};
            const Instant began = now();
            Scope scope;
            for (std::size_t at = 0; at < ended.size(); ++at) {
                tokens[at] = dice.below(most + 1);
                scope.spawn_on(dice.below(2), take_within, bucket.get(), tokens[at], dice.limit(), &ended[at]);
            }
            if (dice.one_in(3)) scope.spawn(cancel_after, dice.below(8), &scope);
            co_await scope.join();
            const Duration took = now() - began;
            bucket.reset();  // nobody touches it any more
            std::uint64_t taken = 0;
            for (std::size_t at = 0; at < ended.size(); ++at) {
                if (!ended[at].yes) continue;  // cancelled before it began
                const std::error_code error = ended[at].error;
                if (!error) taken += tokens[at];
                CHECK((!error || error == Errc::timed_out || error == Errc::cancelled));
            }
            const auto came = static_cast<std::uint64_t>(took / 1us) + 1;
            CHECK(taken <= burst + came + most);  // the last one may have left a debt
        },
        1500);
}

// The turn is passed from one that is cancelled to one that is about to be, on the other worker.
TEST_CASE("no cancel and no limit is lost on a waiter whose turn is on its way to it") {
    in_rounds(
        [](unsigned seed) -> Task<> {
            Dice dice(seed);
            TokenBucket bucket(1, 1);
            CHECK(bucket.try_take());
            bucket.charge(1'000'000);  // nobody gets any today
            std::array<Ended, 5> ended;
            Scope scope;
            for (Ended& one : ended) {
                const Duration limit = dice.one_in(3) ? Duration(std::chrono::microseconds(dice.below(30))) : 1h;
                scope.spawn_on(dice.below(2), take_within, &bucket, std::uint64_t{1}, limit, &one);
            }
            co_await yields(dice.below(12));
            scope.cancel();
            co_await scope.join();
            for (const Ended& one : ended)
                CHECK((!one.yes || one.error == Errc::cancelled || one.error == Errc::timed_out));
            CHECK(bucket.time_until() > 1h);
        },
        3000);
}

TEST_CASE("tasks on several workers together get the rate, and no more") {
    RuntimeOptions options = one_worker();
    options.workers = 3;
    in_runtime_with(options, []() -> Task<> {
        TokenBucket bucket(20'000, 10);
        const Instant began = now();
        Scope scope;
        for (unsigned worker = 0; worker < 3; ++worker)
            scope.spawn_on(
                worker,
                [](TokenBucket* from) -> Task<> {
                    for (int times = 0; times < 500; ++times) (co_await from->take(2)).value();
                },
                &bucket);
        co_await scope.join();
        const Duration took = now() - began;
        CHECK(took >= 149'500us);  // 3,000 tokens, 10 of them there at the beginning
        CHECK(took < 2s);
    });
}
