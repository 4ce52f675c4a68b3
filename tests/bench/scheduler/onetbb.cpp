// SPDX-License-Identifier: BSL-1.0
// oneTBB's rows; see rows.hpp. Its tasks run to their end, so there are no yields, hops and channels to compare.
#include "tests/bench/scheduler/rows.hpp"

#include <array>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

namespace {

namespace tbb = oneapi::tbb;
using rows::Outcome;
using rows::Stopwatch;

void batches(std::size_t count) {
    for (std::size_t at = 0; at < count; ++at) {
        tbb::task_group group;
        for (std::size_t child = 0; child < rows::batch; ++child) group.run([] {});
        group.wait();
    }
}

Outcome spawn(std::size_t size) {
    batches(size / 10 + 1);
    const Stopwatch stopwatch;
    batches(size);
    return stopwatch.lap(size * rows::batch);
}

std::size_t fib(std::size_t n) {
    if (n < 2) return n;
    std::size_t one = 0;
    tbb::task_group group;
    group.run([&] { one = fib(n - 1); });
    const std::size_t other = fib(n - 2);
    group.wait();
    return one + other;
}

Outcome fibonacci(std::size_t size) {
    const std::size_t first = fib(size);
    const Stopwatch stopwatch;
    const std::size_t second = fib(size);
    const Outcome outcome = stopwatch.lap(rows::fib_calls(size));
    rows::check(first == second, "fib");
    return outcome;
}

std::size_t sum_up(std::size_t first, std::size_t leaves) {
    if (leaves == 1) return first;
    std::array<std::size_t, rows::skynet_fork> parts;
    const std::size_t share = leaves / rows::skynet_fork;
    tbb::task_group group;
    for (std::size_t part = 0; part < parts.size(); ++part)
        group.run([&parts, part, first, share] { parts[part] = sum_up(first + part * share, share); });
    group.wait();
    std::size_t sum = 0;
    for (const std::size_t part : parts) sum += part;
    return sum;
}

Outcome skynet(std::size_t size) {
    sum_up(0, size);
    const Stopwatch stopwatch;
    const std::size_t sum = sum_up(0, size);
    const Outcome outcome = stopwatch.lap(rows::skynet_tasks(size));
    rows::check(sum == size * (size - 1) / 2, "skynet");
    return outcome;
}

Outcome inject(std::size_t size, unsigned threads, int workers) {
    tbb::task_arena arena(workers, 0);  // no slot for the threads that spawn
    return rows::inject(size, threads,
                        [&](rows::Countdown& countdown) { arena.enqueue([&countdown] { countdown.task_ended(); }); });
}

Outcome run(const rows::Arguments& arguments) {
    const auto workers = static_cast<int>(arguments.workers);
    const bool injects = arguments.row.starts_with("inject");
    // The limit counts one thread from outside: it works in the other rows, but not where it injects.
    tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                              static_cast<std::size_t>(workers) + (injects ? 1 : 0));
    if (injects) return inject(arguments.size, arguments.row == "inject4" ? 4 : 1, workers);
    tbb::task_arena arena(workers);
    return arena.execute([&] {
        if (arguments.row == "spawn") return spawn(arguments.size);
        if (arguments.row == "fib") return fibonacci(arguments.size);
        if (arguments.row == "skynet") return skynet(arguments.size);
        return Outcome();
    });
}

}  // namespace

int main(int argc, char** argv) {
    return rows::report(run(rows::arguments(argc, argv)));
}
