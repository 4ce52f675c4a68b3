// SPDX-License-Identifier: BSL-1.0
#include "tests/bench/costs/kernel.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <sys/epoll.h>

namespace costs {
namespace {

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t reading = 20;  // ns, of the clock

std::atomic<std::int64_t> clock_ns{1000 * second};
Peer* the_peer = nullptr;
std::atomic<bool> in_lock_step{false};
std::atomic<int> sleeping{0};  // workers

int wait_for_real(int epoll, epoll_event* events, int room) noexcept {
    int count = 0;
    do {
        count = ::epoll_wait(epoll, events, room, -1);
    } while (count < 0 && errno == EINTR);
    return count;
}

// What play() has made ready may come in several parts: the kernel delivers when it likes.
int play_and_wait(int epoll, epoll_event* events, int room) noexcept {
    const int expected = the_peer->play();
    int count = 0;
    while (count < expected && count < room) {
        const int more = wait_for_real(epoll, events + count, room - count);
        if (more < 0) return more;
        count += more;
    }
    return count > 0 ? count : wait_for_real(epoll, events, room);
}

int sleep_in_lock_step(int epoll, epoll_event* events, int room) noexcept {
    sleeping.fetch_add(1);
    sleeping.notify_all();
    const int count = wait_for_real(epoll, events, room);
    sleeping.fetch_sub(1);
    while (in_lock_step && sleeping == 0) sleeping.wait(0);
    return count;
}

}  // namespace

void set_peer(Peer* now) noexcept {
    the_peer = now;
}

Peer* peer() noexcept {
    return the_peer;
}

void lock_step(bool on) noexcept {
    in_lock_step = on;
}

void let_time_pass(std::chrono::nanoseconds time) noexcept {
    clock_ns.fetch_add(time.count(), std::memory_order_relaxed);
}

}  // namespace costs

extern "C" {

// In place of the C library's, also for libstdc++'s clocks.
int clock_gettime(clockid_t, timespec* time) noexcept {
    using namespace costs;
    const std::int64_t now = clock_ns.fetch_add(reading, std::memory_order_relaxed);
    time->tv_sec = now / second;
    time->tv_nsec = now % second;
    return 0;
}

[[gnu::noinline]] int costs_uncounted_wait(int epoll, epoll_event* events, int room, const timespec* timeout) {
    using namespace costs;
    const bool blocks = !timeout || timeout->tv_sec > 0 || timeout->tv_nsec > 0;
    if (blocks && the_peer) return play_and_wait(epoll, events, room);
    if (!timeout) return sleep_in_lock_step(epoll, events, room);
    const int count = ::epoll_wait(epoll, events, room, 0);
    if (count == 0) let_time_pass(std::chrono::nanoseconds(timeout->tv_sec * second + timeout->tv_nsec));
    return count;
}

int epoll_pwait2(int epoll, epoll_event* events, int room, const timespec* timeout, const sigset_t*) {
    return costs_uncounted_wait(epoll, events, room, timeout);
}
}
