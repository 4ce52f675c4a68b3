// SPDX-License-Identifier: BSL-1.0
// when_all, when_any, with_timeout.
#include "tests/unit/support.hpp"

#include <memory>
#include <stdexcept>
#include <vector>

using namespace support;

namespace {

Task<int> number_after(int value, Duration pause) {
    co_await sleep_for(pause);
    co_return value;
}
Task<> nothing() {
    co_await yield();
}
Task<int> failing() {
    co_await yield();
    throw std::runtime_error("failing");
}
Task<std::unique_ptr<int>> owned(int value) {
    co_await yield();
    co_return std::make_unique<int>(value);
}

}  // namespace

TEST_CASE("when_all yields every value by position") {
    in_runtime([]() -> Task<> {
        auto all = co_await when_all(number_after(1, 2ms), owned(2), nothing(), sleep_for(1ms));
        CHECK(all.get<0>() == 1);
        CHECK(*all.get<1>() == 2);
        CHECK(all.get<3>());
        std::vector<Task<int>> tasks;
        for (int value = 0; value < 50; ++value) tasks.push_back(number_after(value, 1ms));
        auto values = co_await when_all(std::move(tasks));
        REQUIRE(values.size() == 50);
        for (int value = 0; value < 50; ++value) CHECK(values[static_cast<std::size_t>(value)] == value);
        std::vector<Task<>> none;
        co_await when_all(std::move(none));
    });
}

TEST_CASE("when_all may be made before it is awaited, when it is of tasks") {
    in_runtime([]() -> Task<> {
        auto later = when_all(number_after(1, 0ms), owned(5));
        co_await yield();
        auto all = co_await std::move(later);
        CHECK(*all.get<1>() == 5);
    });
}

TEST_CASE("an exception of one cancels the others and is rethrown when they have ended") {
    in_runtime([]() -> Task<> {
        std::string what;
        const Instant start = now();
        try {
            (void)co_await when_all(failing(), number_after(1, 1h));
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK(what == "failing");
        CHECK(now() - start < 1min);
    });
}

TEST_CASE("when_any: the first to end wins, the losers are cancelled and joined") {
    in_runtime([]() -> Task<> {
        auto first = co_await when_any(number_after(1, 1h), number_after(2, 1ms), nothing());
        CHECK(first.index() == 2);
        CHECK(first.get<0>() == 1);  // it ran to its end, its sleep cut short
        CHECK(first.get<1>() == 2);
        std::vector<Task<int>> tasks;
        for (int value = 0; value < 9; ++value) tasks.push_back(number_after(value, value == 4 ? Duration(0) : 1h));
        auto any = co_await when_any(std::move(tasks));
        CHECK(any.index == 4);
        CHECK(any.values.size() == 9);
    });
}

TEST_CASE("what a losing operation did not take is still there, and a late success is delivered") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Semaphore permits(0);
        auto first = co_await when_any(pair.near.recv(), sleep_for(1ms), permits.acquire());
        CHECK(first.index() == 1);
        CHECK(first.get<0>().error() == Errc::cancelled);
        CHECK(first.get<2>().error() == Errc::cancelled);
        permits.release();
        CHECK(permits.available() == 1);
        (void)co_await pair.far.send("later");
        auto chunk = co_await pair.near.recv();
        CHECK(chunk.value().to_string() == "later");
        // Both are ready before either has begun to wait: the one that lost has its success, too.
        Channel<int> values(4);
        values.try_send(7);
        auto both = co_await when_any(permits.acquire(), values.recv());
        CHECK(both.get<0>().has_value());
        if (both.get<1>().has_value())
            CHECK(*both.get<1>() == 7);
        else
            CHECK(values.try_recv() == 7);
    });
}

TEST_CASE("cancelling the caller reaches all branches") {
    in_runtime([]() -> Task<> {
        bool ended = false;
        Scope scope;
        scope.spawn(
            [](bool* flag) -> Task<> {
                auto any = co_await when_any(sleep_for(1h), number_after(1, 1h));
                *flag = !any.get<0>() && any.get<1>() == 1;
            },
            &ended);
        co_await passes(3);
        scope.cancel();
        co_await scope.join();
        CHECK(ended);
    });
}

TEST_CASE("with_timeout yields the value in time, else timed_out after the task has ended") {
    in_runtime([]() -> Task<> {
        auto quick = co_await with_timeout(number_after(3, 0ms), 1h);
        CHECK(quick.value() == 3);
        bool ended = false;
        auto slow = co_await with_timeout(
            [](bool* flag) -> Task<int> {
                const bool whole = co_await sleep_for(1h);
                *flag = !whole;
                co_return 9;
            }(&ended),
            2ms);
        CHECK(slow.error() == Errc::timed_out);
        CHECK(ended);
        auto nothing_slow = co_await with_timeout([]() -> Task<> { (void)co_await sleep_for(1h); }(), 1ms);
        CHECK(nothing_slow.error() == Errc::timed_out);
    });
}

TEST_CASE("with_timeout of a Result: a late success and an error of its own are delivered, a cancel is the timeout") {
    in_runtime([]() -> Task<> {
        const auto ends = [](int how) -> Task<Result<int>> {
            const bool whole = co_await sleep_for(1h);
            if (how == 0) co_return 5;
            if (how == 1) co_return Errc::not_supported;
            co_return whole ? Errc::closed : Errc::cancelled;
        };
        auto late = co_await with_timeout(ends(0), 1ms);
        CHECK(late.value() == 5);
        auto own = co_await with_timeout(ends(1), 1ms);
        CHECK(own.error() == Errc::not_supported);
        auto cancelled = co_await with_timeout(ends(2), 1ms);
        CHECK(cancelled.error() == Errc::timed_out);
        std::string what;
        try {
            (void)co_await with_timeout(failing(), 1h);
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK(what == "failing");
    });
}
