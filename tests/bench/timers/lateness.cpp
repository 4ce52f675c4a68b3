// SPDX-License-Identifier: BSL-1.0
// How late a pause ends: timers_lateness sleep_for|timerfd|epoll_wait MICROSECONDS COUNT. Prints a line of JSON with
// the nanoseconds that each pause was too long. sleep_for runs on the backend that CHAINRING_BACKEND names and does not
// spin; timerfd is a timer descriptor awaited with epoll_wait; epoll_wait has the timeout in the call (epoll_pwait2).
#include <chainring/runtime.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace chainring;
using Clock = std::chrono::steady_clock;

std::vector<Duration> late;

timespec timespec_of(Duration duration) {
    return {duration.count() / 1'000'000'000, duration.count() % 1'000'000'000};
}

template <class Pause>
void measure(Duration duration, int count, Pause&& pause) {
    for (int at = 0; at < count; ++at) {
        const auto start = Clock::now();
        pause();
        late.push_back(Clock::now() - start - duration);
    }
}

Task<> with_sleep_for(Duration duration, int count) {
    for (int at = 0; at < count; ++at) {
        const auto start = Clock::now();
        co_await sleep_for(duration);
        late.push_back(Clock::now() - start - duration);
    }
}

void with_timerfd(Duration duration, int count) {
    const int epoll = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    measure(duration, count, [&] {
        const itimerspec setting{{}, timespec_of(duration)};
        timerfd_settime(timer, 0, &setting, nullptr);
        epoll_wait(epoll, &event, 1, -1);
        std::uint64_t expirations = 0;
        if (read(timer, &expirations, sizeof expirations) < 0) std::abort();
    });
    close(timer);
    close(epoll);
}

void with_epoll_wait(Duration duration, int count) {
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    measure(duration, count, [&] {
        const timespec timeout = timespec_of(duration);
        epoll_pwait2(epoll, &event, 1, &timeout, nullptr);
    });
    close(epoll);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s sleep_for|timerfd|epoll_wait MICROSECONDS COUNT\n", argv[0]);
        return 2;
    }
    const std::string_view how = argv[1];
    const Duration duration = std::chrono::microseconds(std::strtol(argv[2], nullptr, 10));
    const int count = static_cast<int>(std::strtol(argv[3], nullptr, 10));
    if (how == "timerfd") {
        with_timerfd(duration, count);
    } else if (how == "epoll_wait") {
        with_epoll_wait(duration, count);
    } else {
        RuntimeOptions options;
        options.workers = 1;
        options.spin = Duration::zero();
        Runtime runtime(options);
        runtime.run(with_sleep_for, duration, count);
    }
    std::printf("[");
    for (std::size_t at = 0; at < late.size(); ++at)
        std::printf("%s%lld", at ? ", " : "", static_cast<long long>(late[at].count()));
    std::printf("]\n");
    return 0;
}
