// SPDX-License-Identifier: BSL-1.0
// chainring's rows; see rows.hpp. Two arguments more than the other programs: the policy of stealing (default, never,
// overloaded or eager) and the microseconds that an idle worker spins before it parks.
#include <chainring/channel.hpp>
#include <chainring/event.hpp>
#include <chainring/runtime.hpp>
#include <chainring/scope.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>
#if __has_include(<chainring/schedule.hpp>)
#include <chainring/schedule.hpp>
#define SCHEDULER_ROAMS 1
#else
#define SCHEDULER_ROAMS 0
#endif

#include "tests/bench/scheduler/rows.hpp"

#include <array>
#include <string_view>

namespace {

using namespace chainring;
using rows::Outcome;
using rows::Stopwatch;

// ---- spawn and join

Task<> nothing() {
    co_return;
}

Task<> batches(std::size_t count) {
    for (std::size_t at = 0; at < count; ++at) {
        Scope scope;
        for (std::size_t child = 0; child < rows::batch; ++child) scope.spawn(nothing);
        co_await scope.join();
    }
}

Task<> spawn(std::size_t size, unsigned, Outcome* outcome) {
    co_await batches(size / 10 + 1);
    const Stopwatch stopwatch;
    co_await batches(size);
    *outcome = stopwatch.lap(size * rows::batch);
}

// ---- yield

Task<> yielder(std::size_t times) {
    for (std::size_t at = 0; at < times; ++at) co_await chainring::yield();
}

Task<> yielders(std::size_t times, [[maybe_unused]] unsigned workers) {
    Scope scope;
    for (unsigned task = 0; task < rows::batch; ++task) {
#if SCHEDULER_ROAMS
        scope.spawn(yielder, times);
#else
        scope.spawn_on(task % workers, yielder, times);
#endif
    }
    co_await scope.join();
}

Task<> yields(std::size_t size, unsigned workers, Outcome* outcome) {
    co_await yielders(size / 10 + 1, workers);
    const Stopwatch stopwatch;
    co_await yielders(size, workers);
    *outcome = stopwatch.lap(size * rows::batch);
}

// ---- hop

#if SCHEDULER_ROAMS
Task<> there_and_back(std::size_t times) {
    for (std::size_t at = 0; at < times; ++at) {
        co_await resume_on(1);
        co_await resume_on(0);
    }
}

Task<> hop(std::size_t size, unsigned workers, Outcome* outcome) {
    if (workers < 2) co_return;
    co_await resume_on(0);
    co_await there_and_back(size / 10 + 1);
    const Stopwatch stopwatch;
    co_await there_and_back(size);
    *outcome = stopwatch.lap(2 * size);
}
#endif

// ---- ping-pong

Task<> player(Channel<int>& from, Channel<int>& to, std::size_t times) {
    for (std::size_t at = 0; at < times; ++at) {
        auto ball = co_await from.recv();
        (co_await to.send(*ball)).value();
    }
}

Task<> play(std::size_t times, bool pinned) {
    Channel<int> there(1), back(1);
    Scope scope;
    if (pinned) {
        scope.spawn_on(0, player, std::ref(there), std::ref(back), times);
        scope.spawn_on(1, player, std::ref(back), std::ref(there), times);
    } else {
        scope.spawn(player, std::ref(there), std::ref(back), times);
        scope.spawn(player, std::ref(back), std::ref(there), times);
    }
    there.try_send(1);
    co_await scope.join();
}

Task<> ping_pong(std::size_t size, bool pinned, Outcome* outcome) {
    co_await play(size / 10 + 1, pinned);
    const Stopwatch stopwatch;
    co_await play(size, pinned);
    *outcome = stopwatch.lap(2 * size);
}

Task<> ping_pong_pinned(std::size_t size, unsigned workers, Outcome* outcome) {
    if (workers > 1) co_await ping_pong(size, true, outcome);
}

Task<> ping_pong_free(std::size_t size, unsigned, Outcome* outcome) {
    co_await ping_pong(size, false, outcome);
}

// ---- injection

Task<> count_down(rows::Countdown* countdown) {
    countdown->task_ended();
    co_return;
}

template <unsigned Threads>
Task<> inject(std::size_t size, unsigned, Outcome* outcome) {
    Event done;
    Scope& root = Runtime::current().root();
    std::thread threads([&] {
        *outcome = rows::inject(size, Threads, [&](rows::Countdown& countdown) { root.spawn(count_down, &countdown); });
        done.set();
    });
    [[maybe_unused]] const auto waited = co_await done.wait();
    threads.join();
}

// ---- fork and join

Task<> fib(std::size_t n, std::size_t* result) {
    if (n < 2) {
        *result = n;
        co_return;
    }
    std::size_t one = 0, other = 0;
    Scope scope;
    scope.spawn(fib, n - 1, &one);
    co_await fib(n - 2, &other);
    co_await scope.join();
    *result = one + other;
}

Task<> fibonacci(std::size_t size, unsigned, Outcome* outcome) {
    std::size_t result = 0;
    co_await fib(size, &result);
    const Stopwatch stopwatch;
    const std::size_t first = result;
    co_await fib(size, &result);
    *outcome = stopwatch.lap(rows::fib_calls(size));
    rows::check(result == first && (size != 30 || result == 832'040), "fib");
}

Task<> sum_up(std::size_t first, std::size_t leaves, std::size_t* result) {
    if (leaves == 1) {
        *result = first;
        co_return;
    }
    std::array<std::size_t, rows::skynet_fork> parts;
    const std::size_t share = leaves / rows::skynet_fork;
    Scope scope;
    for (std::size_t part = 0; part < parts.size(); ++part)
        scope.spawn(sum_up, first + part * share, share, &parts[part]);
    co_await scope.join();
    *result = 0;
    for (const std::size_t part : parts) *result += part;
}

Task<> skynet(std::size_t size, unsigned, Outcome* outcome) {
    std::size_t result = 0;
    co_await sum_up(0, size, &result);
    const Stopwatch stopwatch;
    co_await sum_up(0, size, &result);
    *outcome = stopwatch.lap(rows::skynet_tasks(size));
    rows::check(result == size * (size - 1) / 2, "skynet");
}

// ---- the program

struct Row {
    std::string_view name;
    Task<> (*run)(std::size_t size, unsigned workers, Outcome* outcome);
};

constexpr Row all[] = {
    {"spawn", spawn},
    {"yield", yields},
#if SCHEDULER_ROAMS
    {"hop", hop},
#endif
    {"pingpong", ping_pong_pinned},
    {"pingpong_free", ping_pong_free},
    {"inject1", inject<1>},
    {"inject4", inject<4>},
    {"fib", fibonacci},
    {"skynet", skynet},
};

}  // namespace

int main(int argc, char** argv) {
    const rows::Arguments arguments = rows::arguments(argc, argv);
    RuntimeOptions options;
    options.workers = arguments.workers;
#if SCHEDULER_ROAMS
    const std::string_view steal = argc > 4 ? argv[4] : "default";
    if (steal == "never") options.steal = Steal::never;
    if (steal == "overloaded") options.steal = Steal::overloaded;
    if (steal == "eager") options.steal = Steal::eager;
#endif
    if (argc > 5) options.spin = std::chrono::microseconds(std::strtol(argv[5], nullptr, 10));
    Outcome outcome;
    for (const Row& row : all)
        if (row.name == arguments.row) {
            Runtime runtime(options);
            runtime.run(row.run, arguments.size, arguments.workers, &outcome);
        }
    return rows::report(outcome);
}
