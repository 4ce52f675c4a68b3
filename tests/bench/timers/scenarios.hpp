// SPDX-License-Identifier: BSL-1.0
// What each program of this folder measures, once for all of them.
//
//     timers_PEER renew|due|sequence|random TIMERS OPERATIONS
//
// renew     TIMERS connections with a timeout of 30 s; each is renewed in turn, as fast as it goes
// due       the same with a timeout so short that it would pass several times if it were not renewed: 5 renewals of
// each
//           connection within it, at an even pace; the time waited for the pace is not counted
// sequence  TIMERS timers with growing deadlines are scheduled, then cancelled in the same order
// random    the same with random deadlines, cancelled in random order
//
// Everything happens in callbacks of the peer's loop, `batch` operations in each; between two of them the loop goes
// round once, expiry included, without waiting. Prints one line of JSON: operations, ns for each (of sequence and
// random a pair of schedule and cancel), and how many timers fired, which must be none.
//
// A peer is a class Loop:
//     explicit Loop(Duration timeout)     what `start` and `renew` mean
//     void make(std::size_t count, bool renewed)   that many Connections; renewed: for `start` and `renew`
//     template <class F> void go_round(F&& work)
//     void start(std::size_t), void renew(std::size_t)
//     void schedule(std::size_t, Duration deadline), void cancel(std::size_t)   the deadline counts from the Loop's
//     making std::size_t fired()    timers that were not renewed in time, or cancelled
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string_view>
#include <vector>

namespace timers {

using Clock = std::chrono::steady_clock;
using Duration = std::chrono::nanoseconds;

constexpr std::size_t batch = 512;

// A timer does not live alone: it is a part of what waits. With chainring's it is as large as a Link.
template <class Timer>
struct Connection {
    Timer timer;
    std::array<std::byte, 352> rest{};
};

struct Outcome {
    std::size_t operations = 0;
    Duration took{};
};

// Calls operation(k) for k below `count`, in batches.
template <class Loop, class Operation>
Duration timed(Loop& loop, std::size_t count, Operation&& operation, std::size_t at_once = batch) {
    const auto start = Clock::now();
    for (std::size_t done = 0; done < count; done += at_once)
        loop.go_round([&] {
            const std::size_t end = std::min(count, done + at_once);
            for (std::size_t at = done; at < end; ++at) operation(at);
        });
    return Clock::now() - start;
}

template <class Loop>
Outcome renew(Loop& loop, std::size_t count, std::size_t operations) {
    timed(loop, count, [&](std::size_t at) { loop.start(at); });
    timed(loop, count, [&](std::size_t at) { loop.renew(at); });
    std::size_t next = 0;
    const auto in_turn = [&](std::size_t) {
        loop.renew(next);
        if (++next == count) next = 0;
    };
    return {operations, timed(loop, operations, in_turn)};
}

constexpr Duration short_timeout(std::size_t count) {
    using namespace std::chrono_literals;
    return count <= 1000 ? 50ms : count <= 100'000 ? 500ms : 2500ms;
}

template <class Loop>
Outcome due(Loop& loop, std::size_t count) {
    constexpr std::size_t within_timeout = 5, timeouts = 3;
    const Duration round = short_timeout(count) / within_timeout;
    const std::size_t at_once = std::clamp<std::size_t>(count / 16, 1, batch);
    timed(loop, count, [&](std::size_t at) { loop.start(at); });
    Outcome outcome;
    const auto start = Clock::now();
    for (std::size_t pass = 0; pass < within_timeout * timeouts; ++pass)
        for (std::size_t done = 0; done < count; done += at_once) {
            const std::size_t some = std::min(at_once, count - done);
            outcome.took += timed(
                loop, some, [&](std::size_t at) { loop.renew(done + at); }, at_once);
            outcome.operations += some;
            const auto until = start + pass * round + round * (done + some) / count;
            while (Clock::now() < until) {
            }
        }
    return outcome;
}

template <class Loop>
Outcome schedule_and_cancel(Loop& loop, std::size_t count, std::size_t operations, bool random) {
    using namespace std::chrono_literals;
    std::mt19937_64 generator(1);
    std::vector<Duration> deadlines(count);
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0U);
    if (random) std::shuffle(order.begin(), order.end(), generator);
    for (std::size_t at = 0; at < count; ++at)
        deadlines[at] = 100s + (random ? Duration(generator() % 60'000'000'000) : 60s / count * at);
    const auto once = [&] {
        return timed(loop, count, [&](std::size_t at) { loop.schedule(at, deadlines[at]); }) +
               timed(loop, count, [&](std::size_t at) { loop.cancel(order[at]); });
    };
    once();
    Outcome outcome;
    for (; outcome.operations < operations; outcome.operations += count) outcome.took += once();
    return outcome;
}

template <class Loop>
int run(int argc, char** argv) {
    using namespace std::chrono_literals;
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s renew|due|sequence|random TIMERS OPERATIONS\n", argv[0]);
        return 2;
    }
    const std::string_view scenario = argv[1];
    const std::size_t count = std::strtoul(argv[2], nullptr, 10), operations = std::strtoul(argv[3], nullptr, 10);
    Loop loop(scenario == "due" ? short_timeout(count) : Duration(30s));
    loop.make(count, scenario == "renew" || scenario == "due");
    const Outcome outcome = scenario == "renew" ? renew(loop, count, operations)
                            : scenario == "due" ? due(loop, count)
                                                : schedule_and_cancel(loop, count, operations, scenario == "random");
    std::printf("{\"operations\": %zu, \"ns\": %.3f, \"fired\": %zu}\n", outcome.operations,
                static_cast<double>(outcome.took.count()) / static_cast<double>(outcome.operations), loop.fired());
    std::fflush(stdout);
    std::_Exit(0);  // nothing is measured in taking it all down
}

}  // namespace timers
