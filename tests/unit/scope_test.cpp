// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace support;

namespace {

Task<> add(int* sum, int value) {
    co_await yield();
    *sum += value;
}
Task<> sleep_long(bool* whole) {
    *whole = co_await sleep_for(1h);
}
Task<> throw_after_yield(const char* what) {
    co_await yield();
    throw std::runtime_error(what);
}
Task<> hold(Counted, int* ended) {
    co_await sleep_for(1h);
    ++*ended;
}
Task<> family(int depth, int* ended) {
    Scope scope;
    if (depth > 0)
        for (int child = 0; child < 3; ++child) scope.spawn(family, depth - 1, ended);
    else
        co_await sleep_for(1h);
    co_await scope.join();
    ++*ended;
}

}  // namespace

TEST_CASE("join waits for every child") {
    in_runtime([]() -> Task<> {
        int sum = 0;
        Scope scope;
        for (int value = 1; value <= 100; ++value) scope.spawn(add, &sum, value);
        CHECK(scope.size() == 100);
        co_await scope.join();
        CHECK(sum == 5050);
        CHECK(scope.size() == 0);
    });
}

TEST_CASE("a child keeps its callable and its arguments") {
    in_runtime([]() -> Task<> {
        std::string text(100, 'x');
        std::size_t seen = 0;
        Scope scope;
        {
            const auto closure = [copy = text, &seen](const std::string& argument) -> Task<> {
                co_await yield();
                seen = copy.size() + argument.size();
            };
            scope.spawn(closure, std::string(50, 'y'));
        }
        co_await scope.join();
        CHECK(seen == 150);
    });
}

TEST_CASE("cancel ends what the children wait for, and what they begin later") {
    in_runtime([]() -> Task<> {
        bool whole = true;
        bool late = true;
        Scope scope;
        scope.spawn(sleep_long, &whole);
        co_await yield();
        scope.cancel();
        scope.spawn(sleep_long, &late);  // starts cancelled
        co_await scope.join();
        CHECK(!whole);
        CHECK(!late);
    });
}

TEST_CASE("cancelling a task cancels the scopes that it has opened, all the way down") {
    in_runtime([]() -> Task<> {
        int ended = 0;
        Scope scope;
        scope.spawn(family, 4, &ended);
        co_await sleep_for(1ms);
        scope.cancel();
        co_await scope.join();
        CHECK(ended == 1 + 3 + 9 + 27 + 81);
    });
}

TEST_CASE("a failing child cancels its siblings, and join rethrows the first failure") {
    in_runtime([]() -> Task<> {
        bool whole = true;
        std::string what;
        Scope scope;
        scope.spawn(sleep_long, &whole);
        scope.spawn(throw_after_yield, "first");
        scope.spawn(throw_after_yield, "second");
        try {
            co_await scope.join();
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK(what == "first");
        CHECK(!whole);
    });
}

TEST_CASE("children on other workers are cancelled and joined") {
    RuntimeOptions options = one_worker();
    options.workers = 3;
    Counted::alive = 0;
    in_runtime_with(options, []() -> Task<> {
        for (int round = 0; round < 200; ++round) {
            std::vector<int> ended(30);
            Scope scope;
            for (unsigned child = 0; child < 30; ++child) scope.spawn_on(child % 3, hold, Counted(), &ended[child]);
            if (round % 2) co_await yield();
            scope.cancel();
            co_await scope.join();
            for (const int times : ended) CHECK(times == 1);
        }
    });
    CHECK(Counted::alive == 0);
}

TEST_CASE("a hundred thousand sleeping tasks are cancelled together") {
    in_runtime([]() -> Task<> {
        int ended = 0;
        Scope scope;
        for (int task = 0; task < 100'000; ++task) scope.spawn(hold, Counted(), &ended);
        co_await passes(3);
        scope.cancel();
        co_await scope.join();
        CHECK(ended == 100'000);
    });
}

TEST_CASE("the root scope outlives the task that spawns in it, and is joined by the runtime") {
    int sum = 0;
    in_runtime(
        [](int* total) -> Task<> {
            for (int value = 1; value <= 10; ++value) Runtime::current().root().spawn(add, total, value);
            co_return;
        },
        &sum);
    CHECK(sum == 55);
}

TEST_CASE("an exception in the root scope ends the run") {
    CHECK_THROWS_AS(in_runtime([]() -> Task<> {
                        Runtime::current().root().spawn(throw_after_yield, "root");
                        co_await sleep_for(1h);
                    }),
                    std::runtime_error);
}

TEST_CASE("tasks run on the worker that they were spawned on") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        std::atomic<int> right{0};
        Scope scope;
        for (unsigned task = 0; task < 100; ++task)
            scope.spawn_on(
                task % 2,
                [](unsigned worker, std::atomic<int>* count) -> Task<> {
                    for (int hop = 0; hop < 3; ++hop) {
                        if (Runtime::current_worker() == worker) ++*count;
                        co_await yield();
                    }
                },
                task % 2, &right);
        co_await scope.join();
        CHECK(right == 300);
    });
}
