// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <algorithm>
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
Task<> throw_through(const char* what) {
    co_await throw_after_yield(what);
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

TEST_CASE("an exception of a task in the root scope goes to the handler, with its await chain; the others go on") {
    static std::string what;
    static std::string chain;
    what.clear();
    chain.clear();
    RuntimeOptions options = one_worker();
    options.unhandled_exception = [](const std::exception_ptr& exception, std::string_view await_chain) {
        chain = await_chain;
        try {
            std::rethrow_exception(exception);
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
    };
    bool slept = false;
    in_runtime_with(
        options,
        [](bool* whole) -> Task<> {
            Runtime::current().root().spawn(throw_through, "root");
            *whole = co_await sleep_for(2ms);
        },
        &slept);
    CHECK(what == "root");
    CHECK(slept);
#if CHAINRING_TASK_DUMP
    INFO(chain);
    CHECK(chain.find("after the await in") != std::string::npos);
    CHECK(chain.find("throw_after_yield") != std::string::npos);
    CHECK(chain.find("awaited in") != std::string::npos);
    CHECK(chain.find("throw_through") != std::string::npos);
    CHECK(chain.find("scope_test.cpp:") != std::string::npos);
#endif
}

TEST_CASE("an exception of the main task cancels what is in the root scope and leaves run()") {
    bool whole = true;
    CHECK_THROWS_WITH(in_runtime(
                          [](bool* slept) -> Task<> {
                              Runtime::current().root().spawn(sleep_long, slept);
                              co_await throw_after_yield("main");
                          },
                          &whole),
                      "main");
    CHECK(!whole);
}

TEST_CASE("a limited scope runs so many children at once, in the order of their spawn") {
    in_runtime([]() -> Task<> {
        int running = 0;
        int most = 0;
        std::vector<int> order;
        Scope scope;
        scope.limit(3);
        for (int child = 0; child < 20; ++child)
            scope.spawn(
                [](int index, int* now_running, int* peak, std::vector<int>* begun) -> Task<> {
                    begun->push_back(index);
                    *peak = std::max(*peak, ++*now_running);
                    for (int pause = index % 4; pause >= 0; --pause) co_await yield();
                    --*now_running;
                },
                child, &running, &most, &order);
        CHECK(scope.size() == 20);
        co_await scope.join();
        CHECK(most == 3);
        CHECK(order.size() == 20);
        CHECK(std::is_sorted(order.begin(), order.end()));
    });
}

TEST_CASE("a higher limit lets held children begin, and cancel ends those that were held, too") {
    in_runtime([]() -> Task<> {
        int ended = 0;
        Scope scope;
        scope.limit(1);
        for (int child = 0; child < 10; ++child) scope.spawn(hold, Counted(), &ended);
        co_await passes(2);
        scope.limit(4);
        co_await passes(2);
        CHECK(ended == 0);
        scope.cancel();
        co_await scope.join();
        CHECK(ended == 10);
    });
    CHECK(Counted::alive == 0);
}

TEST_CASE("a limited scope over several workers never exceeds its limit") {
    RuntimeOptions options = one_worker();
    options.workers = 3;
    in_runtime_with(options, []() -> Task<> {
        std::atomic<int> running{0};
        std::atomic<int> most{0};
        Scope scope;
        scope.limit(4);
        for (unsigned child = 0; child < 3000; ++child)
            scope.spawn_on(
                child % 3,
                [](std::atomic<int>* count, std::atomic<int>* peak) -> Task<> {
                    const int mine = ++*count;
                    for (int seen = *peak; seen < mine && !peak->compare_exchange_weak(seen, mine);) {
                    }
                    co_await yield();
                    --*count;
                },
                &running, &most);
        co_await scope.join();
        CHECK(most <= 4);
        CHECK(most >= 2);
    });
}

TEST_CASE("join within a time cancels the children then, and still waits for them") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            bool whole = true;
            Scope scope;
            scope.spawn(sleep_long, &whole);
            scope.spawn(
                [](ManualClock* moved) -> Task<> {
                    co_await passes(2);
                    moved->advance(59s);
                    co_await passes(2);
                    moved->advance(2s);
                },
                time);
            const Instant start = now();
            co_await scope.join().within(1min);
            CHECK(scope.timed_out());
            CHECK(!whole);
            CHECK(now() - start >= 1min);
            Scope quick;
            quick.spawn([]() -> Task<> { co_await yield(); });
            co_await quick.join().within(1min);
            CHECK(!quick.timed_out());
        },
        &clock);
}

TEST_CASE("with_scope joins on every way out") {
    in_runtime([]() -> Task<> {
        int ended = 0;
        const int value = co_await with_scope(
            [](Scope& scope, int* count) -> Task<int> {
                scope.spawn(add, count, 5);
                co_return 3;
            },
            &ended);
        CHECK(value == 3);
        CHECK(ended == 5);
        std::string what;
        bool whole = true;
        try {
            co_await with_scope(
                [](Scope& scope, bool* slept) -> Task<> {
                    scope.spawn(sleep_long, slept);
                    co_await throw_after_yield("body");
                },
                &whole);
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK(what == "body");
        CHECK(!whole);
        what.clear();
        try {
            co_await with_scope([](Scope& scope) -> Task<> {
                scope.spawn(throw_after_yield, "child");
                co_return;
            });
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK(what == "child");
    });
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
