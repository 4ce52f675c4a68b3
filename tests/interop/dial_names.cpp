// SPDX-License-Identifier: BSL-1.0
// dial_names [--retry] TARGET...: dials each target, all at the same time, each within two seconds, and says how each
// ended and after how many milliseconds. With --retry each is tried again, after 0.5 s, 1 s, 2 s ..., for twenty
// seconds. Beside them a task ticks every millisecond: the longest time between two ticks tells whether anything has
// held the worker.
//
//     both.test:7000 connected to [::1]:7000 after 3 ms
//     none.test:7000 failed: the name does not exist after 2 ms
//     longest tick 2 ms
#include <chainring/chainring.hpp>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

long long milliseconds_since(Instant start) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now() - start).count();
}

Task<> dial_one(std::string target, bool retries) {
    const Instant start = now();
    DialOptions options;
    if (retries) options.retry = RetryPolicy{.jitter = 0};
    const Duration limit = retries ? Duration(20s) : Duration(2s);
    auto link = co_await dial(target, options).within(limit);
    const std::string outcome =
        link ? "connected to " + link->peer().value().to_string() : "failed: " + link.error().message();
    std::printf("%s %s after %lld ms\n", target.c_str(), outcome.c_str(), milliseconds_since(start));
}

Task<> tick(Duration* longest) {
    Interval ticks(1ms, Missed::skip);
    for (Instant last = now();;) {
        const bool goes_on = co_await ticks.tick();
        *longest = std::max(*longest, now() - last);
        last = now();
        if (!goes_on) break;
    }
}

Task<> dial_all(int count, char** targets, bool retries) {
    Duration longest{};
    Scope ticking;
    ticking.spawn(tick, &longest);
    Scope dialling;
    for (int at = 0; at < count; ++at) dialling.spawn(dial_one, std::string(targets[at]), retries);
    co_await dialling.join();
    ticking.cancel();
    co_await ticking.join();
    std::printf("longest tick %lld ms\n",
                static_cast<long long>(std::chrono::duration_cast<std::chrono::milliseconds>(longest).count()));
}

}  // namespace

int main(int argc, char** argv) {
    RuntimeOptions options;
    options.workers = 1;
    const int first = argc > 1 && std::string_view(argv[1]) == "--retry" ? 2 : 1;
    return run(options, dial_all, argc - first, argv + first, first == 2);
}
