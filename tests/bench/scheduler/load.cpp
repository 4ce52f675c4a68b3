// SPDX-License-Identifier: BSL-1.0
// Load shapes: what a policy of stealing does to the connections of a server.
//
// Server and clients are two Runtimes in this process, joined by TCP over loopback. The clients' has one worker, whose
// thread runs at a raised priority where that is permitted, so that it is the server that is measured. 512 connections,
// spread evenly over the server's workers, are each a closed loop: a request says how long the server has to compute
// for it (a busy loop of so many iterations; the same for every policy), the answer ends it, and after a pause comes
// the next. A request's latency runs from its send to its answer's receipt.
//
//     uniform    every request costs 10 us, no pauses: the workers are busy all the time, all alike
//     skewed     those of 8 connections, all at home on worker 0, cost 1 ms, the others' 10 us; pauses of 7.5 to 22.5
//     ms,
//                so that two workers together are busy for two thirds of the time, and worker 0 alone nearly always
//     saturated  the same without pauses: no worker is ever idle
//
// Usage: scheduler_load SHAPE STEAL WORKERS SECONDS ITERATIONS, where the last is what `scheduler_load calibrate`
// prints: iterations of the busy loop in a microsecond. Prints one line of JSON; percentiles are of the cheap requests.
#include <chainring/latch.hpp>
#include <chainring/link.hpp>
#include <chainring/listener.hpp>
#include <chainring/runtime.hpp>
#include <chainring/scope.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <future>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <vector>

#if __has_include(<chainring/schedule.hpp>)
#define SCHEDULER_ROAMS 1
#else
#define SCHEDULER_ROAMS 0
#endif

namespace {

using namespace chainring;
using namespace std::chrono_literals;

constexpr unsigned connections = 512, hot_connections = 8;
constexpr std::uint32_t cheap_us = 10, hot_us = 1000;
constexpr Duration warm_up = 300ms, mean_pause = 15ms;

// ---- the busy loop

void burn(std::uint64_t iterations) noexcept {
    for (; iterations > 0; --iterations) asm volatile("" ::: "memory");
}

// The fastest of several tries: the others were disturbed.
double calibrate() {
    constexpr std::uint64_t iterations = 2'000'000;
    double best = 0;
    for (int turn = 0; turn < 50; ++turn) {
        const auto start = std::chrono::steady_clock::now();
        burn(iterations);
        const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
        best = std::max(best, static_cast<double>(iterations) / took.count());
    }
    return best;
}

// ---- the server

// In the machine's byte order: both ends are this process.
struct Request {
    std::uint64_t iterations;
};
struct Answer {
    std::uint64_t home;  // of the connection
};

template <class T>
std::span<std::byte> bytes_of(T& value) {
    return std::as_writable_bytes(std::span(&value, 1));
}

Task<> serve(Link link) {
    Answer answer{link.home()};
    Request request{};
    for (;;) {
        auto received = co_await link.recv_exact(bytes_of(request));
        if (!received) co_return;
        burn(request.iterations);
        auto sent = co_await link.send(bytes_of(answer));
        if (!sent) co_return;
    }
}

Task<> serve_all(std::promise<std::string>* bound) {
    auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
    bound->set_value(listener.address().to_string());
    co_await listener.serve(serve);
}

// ---- the clients, all on one worker

struct Load {
    std::string server;
    std::uint64_t cheap = 0, hot = 0;  // iterations
    Duration pause{};                  // the mean
    Duration length{};
    unsigned hot_left = 0;  // connections that are still to become hot
    bool measuring = false;
    bool ended = false;
    std::size_t hot_requests = 0;
    std::uint64_t steals = 0;              // of the server, in its life
    double cpu_seconds = 0;                // of the process, while measuring
    std::vector<std::uint32_t> latencies;  // of cheap requests, in nanoseconds
    std::mt19937_64 random{1};
    Latch connected{connections};
};

Task<bool> ask(Link& link, std::uint64_t iterations, Answer* answer) {
    Request request{iterations};
    auto sent = co_await link.send(bytes_of(request));
    if (!sent) co_return false;
    auto received = co_await link.recv_exact(bytes_of(*answer));
    co_return static_cast<bool>(received);
}

Task<> client(Load& load) {
    auto link = (co_await Link::connect(load.server)).value();
    Answer answer{};
    const bool greeted = co_await ask(link, 0, &answer);
    if (!greeted) std::abort();
    const bool hot = answer.home == 0 && load.hot_left > 0;
    if (hot) --load.hot_left;
    load.connected.count_down();
    (co_await load.connected.wait()).value();
    while (!load.ended) {
        if (load.pause > 0ns) co_await sleep_for(load.pause / 2 + Duration(load.random() % load.pause.count()));
        const Instant start = now();
        const bool answered = co_await ask(link, hot ? load.hot : load.cheap, &answer);
        if (!answered) std::abort();
        if (!load.measuring) continue;
        if (hot)
            ++load.hot_requests;
        else
            load.latencies.push_back(static_cast<std::uint32_t>(std::min<Duration::rep>((now() - start).count(), ~0U)));
    }
    co_await link.close();
}

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

Task<> clients(Load& load) {
    Scope scope;
    for (unsigned at = 0; at < connections; ++at) scope.spawn(client, std::ref(load));
    (co_await load.connected.wait()).value();
    co_await sleep_for(warm_up);
    load.measuring = true;
    const Instant start = now();
    const double used = cpu_seconds();
    co_await sleep_for(load.length);
    load.measuring = false;
    load.cpu_seconds = cpu_seconds() - used;
    load.length = now() - start;
    load.ended = true;
    co_await scope.join();
}

// ---- the program

double percentile_us(std::vector<std::uint32_t>& sorted, double share) {
    if (sorted.empty()) return 0;
    return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))] / 1000.0;
}

void report(Load& load, bool raised) {
    std::sort(load.latencies.begin(), load.latencies.end());
    const double seconds = std::chrono::duration<double>(load.length).count();
    std::printf(
        "{\"requests_s\": %.1f, \"hot_requests_s\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
        "\"cpus\": %.2f, \"steals\": %llu, \"raised\": %s}\n",
        static_cast<double>(load.latencies.size()) / seconds, static_cast<double>(load.hot_requests) / seconds,
        percentile_us(load.latencies, 0.5), percentile_us(load.latencies, 0.99), percentile_us(load.latencies, 0.999),
        load.cpu_seconds / seconds, static_cast<unsigned long long>(load.steals), raised ? "true" : "false");
}

int usage(const char* program) {
    std::fprintf(stderr,
                 "usage: %s calibrate | uniform|skewed|saturated default|never|overloaded|eager WORKERS SECONDS "
                 "ITERATIONS [PAUSE]\n",
                 program);
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::string_view(argv[1]) == "calibrate") {
        std::printf("%.1f\n", calibrate());
        return 0;
    }
    if (argc < 6) return usage(argv[0]);
    const std::string_view shape = argv[1];
    const double per_us = std::strtod(argv[5], nullptr);
    Load load;
    load.cheap = load.hot = static_cast<std::uint64_t>(per_us * cheap_us);
    load.length = Duration(static_cast<Duration::rep>(std::strtod(argv[4], nullptr) * 1e9));
    if (shape != "uniform") {
        load.hot = static_cast<std::uint64_t>(per_us * hot_us);
        load.hot_left = hot_connections;
        if (shape == "skewed") load.pause = mean_pause;
    }
    if (argc > 6) load.pause = std::chrono::milliseconds(std::strtol(argv[6], nullptr, 10));

    RuntimeOptions options;
    options.workers = static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10));
#if SCHEDULER_ROAMS
    const std::string_view steal = argv[2];
    if (steal == "never") options.steal = Steal::never;
    if (steal == "overloaded") options.steal = Steal::overloaded;
    if (steal == "eager") options.steal = Steal::eager;
#endif
    Runtime server(options);
    std::promise<std::string> bound;
    bool raised = false;
    std::thread generator([&] {
        raised = setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), -15) == 0;
        load.server = bound.get_future().get();
        RuntimeOptions one;
        one.workers = 1;
        Runtime runtime(one);
        runtime.run(clients, std::ref(load));
        server.request_stop();
    });
    server.run(serve_all, &bound);
    generator.join();
#if SCHEDULER_ROAMS
    for (unsigned worker = 0; worker < server.workers(); ++worker) load.steals += server.metrics(worker).steals;
#endif
    report(load, raised);
    return 0;
}
