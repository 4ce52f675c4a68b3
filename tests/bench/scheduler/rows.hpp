// SPDX-License-Identifier: BSL-1.0
// What every program of this folder measures, and how it says so. A row is the same work for each scheduler; `size` is
// how much of it is timed, after a short warm-up that is not. An operation is
//
//     spawn          one child: `size` batches of 1,000 children that do nothing, each batch spawned by one task,
//     joined yield          one yield: 1,000 tasks yield `size` times each hop            one change of the thread: one
//     task goes to the other worker and back, `size` times pingpong       one message: two tasks, each kept on a worker
//     of its own, hand a value to and fro `size` times
//                    through two channels that hold one
//     pingpong_free  the same with tasks that the scheduler may place as it likes
//     inject1        one task that counts down: a thread that is no worker spawns 100,000 of them and waits for their
//                    end, `size` times
//     inject4        the same with four such threads, which spawn a quarter each
//     fib            one call: fib(size), one of each call's two calls is spawned and then joined, with no cut-off
//     skynet         one task: each spawns ten, down to `size` leaves (a power of ten), and adds up what they return
//
// A program is called with ROW SIZE WORKERS and prints {"ops": N, "seconds": S}; exit status 3 says that it has no such
// row. The programs in other languages (peer.go, tokio/) keep to the same.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <semaphore>
#include <string_view>
#include <thread>
#include <vector>

namespace rows {

constexpr std::size_t batch = 1000;      // children of a batch, tasks that yield
constexpr std::size_t burst = 100'000;   // tasks of a round of injection
constexpr std::size_t skynet_fork = 10;  // children of a task
constexpr int no_such_row = 3;

struct Arguments {
    std::string_view row;
    std::size_t size = 0;
    unsigned workers = 0;
};

struct Outcome {
    std::size_t ops = 0;
    double seconds = 0;
};

class Stopwatch {
public:
    Outcome lap(std::size_t ops) const {
        return {ops, std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count()};
    }

private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// A foreign thread waits for the end of the tasks that it has spawned. One waiter; used again for the next burst.
class Countdown {
public:
    void reset(std::size_t tasks) { left_.store(tasks, std::memory_order_relaxed); }
    void task_ended() {
        if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) none_left_.release();
    }
    void wait() { none_left_.acquire(); }

private:
    alignas(64) std::atomic<std::size_t> left_{0};
    std::binary_semaphore none_left_{0};
};

// `threads` foreign threads call spawn(countdown) for each of their tasks, whose body is countdown.task_ended().
template <class Spawn>
Outcome inject(std::size_t rounds, unsigned threads, Spawn&& spawn) {
    const auto spawn_share = [&](std::size_t times) {
        Countdown countdown;
        for (std::size_t round = 0; round < times; ++round) {
            countdown.reset(burst / threads);
            for (std::size_t task = 0; task < burst / threads; ++task) spawn(countdown);
            countdown.wait();
        }
    };
    std::thread(spawn_share, 1).join();
    const Stopwatch stopwatch;
    std::vector<std::thread> foreign;
    for (unsigned thread = 0; thread < threads; ++thread) foreign.emplace_back(spawn_share, rounds);
    for (std::thread& thread : foreign) thread.join();
    return stopwatch.lap(rounds * burst);
}

// Calls of a fib(n) that ends at 0 and 1.
constexpr std::size_t fib_calls(std::size_t n) {
    std::size_t calls = 1, next = 1;
    for (; n > 0; --n) {
        const std::size_t sum = calls + next + 1;
        calls = next;
        next = sum;
    }
    return calls;
}

constexpr std::size_t skynet_tasks(std::size_t leaves) {
    std::size_t tasks = 0;
    for (; leaves > 0; leaves /= skynet_fork) tasks += leaves;
    return tasks;
}

inline void check(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "wrong result of %s\n", what);
    std::_Exit(1);
}

inline Arguments arguments(int argc, char** argv) {
    if (argc < 4) {
        std::fprintf(stderr, "usage: %s ROW SIZE WORKERS\n", argv[0]);
        std::exit(2);
    }
    return {argv[1], std::strtoul(argv[2], nullptr, 10), static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10))};
}

inline int report(const Outcome& outcome) {
    if (outcome.ops == 0) return no_such_row;
    std::printf("{\"ops\": %zu, \"seconds\": %.9f}\n", outcome.ops, outcome.seconds);
    return 0;
}

}  // namespace rows
