// SPDX-License-Identifier: BSL-1.0
// Runtime::dump_tasks and what is made of it.
#include "tests/unit/support.hpp"

#include <atomic>
#include <csignal>
#include <mutex>
#include <sstream>
#include <thread>
#include <vector>

using namespace support;

#if CHAINRING_TASK_DUMP

namespace {

std::mutex log_mutex;
std::string logged;
void keep_log(std::string_view line) {
    const std::lock_guard lock(log_mutex);
    logged.append(line).append("\n");
}
std::string take_log() {
    const std::lock_guard lock(log_mutex);
    return std::exchange(logged, {});
}

std::string dump() {
    std::ostringstream out;
    Runtime::current().dump_tasks(out);
    return out.str();
}

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

Task<> read_forever(Link* link) {
    name_this_task("reader of room 5");
    (void)co_await link->recv();
}
Task<> inner_wait(Event* event) {
    (void)co_await event->wait();
}
Task<> outer_wait(Event* event) {
    co_await inner_wait(event);
}
Task<> lock_and(Mutex* mutex, Event* event) {
    auto guard = co_await mutex->lock();
    name_this_task("the owner");
    (void)co_await event->wait();
}
Task<> want_lock(Mutex* mutex) {
    auto guard = co_await mutex->lock();
}

}  // namespace

TEST_CASE("the dump names every task, what it waits on, where and for how long") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            auto pair = co_await connected();
            Event event;
            Mutex mutex;
            Channel<int> channel(1);
            Scope scope;
            scope.spawn(read_forever, &pair.near);
            scope.spawn(outer_wait, &event);
            scope.spawn(lock_and, &mutex, &event);
            scope.spawn(want_lock, &mutex);
            scope.spawn([](Channel<int>* values) -> Task<> { (void)co_await values->recv(); }, &channel);
            scope.spawn([]() -> Task<> { (void)co_await sleep_for(1h); });
            co_await passes(3);
            time->advance(90s);
            co_await passes(2);
            scope.spawn([]() -> Task<> { co_return; });
            const std::string text = dump();
            INFO(text);
            CHECK(has(text, "main on worker 0: running\n"));
            CHECK(has(text, "reader of room 5 on worker 0: recv, Link 127.0.0.1:"));
            CHECK(has(text, "(fd "));
            CHECK(has(text, "for 90."));
            CHECK(has(text, "on worker 0: event, for 90."));
            CHECK(has(text, "in inner_wait(Event"));
            CHECK(has(text, ": channel, for"));
            CHECK(has(text, ": sleep, for"));
            CHECK(has(text, "has not begun"));
            CHECK(has(text, "; scope of task_report_test.cpp:"));
            CHECK(has(text, "mutex, held by the owner, for 90."));
            event.set();
            pair.near.abort();
            scope.cancel();
            co_await scope.join();
        },
        &clock);
}

TEST_CASE("tasks of several workers are dumped from a foreign thread and from tasks at the same time" *
          not_simulated()) {
    RuntimeOptions options = one_worker();
    options.workers = 3;
    in_runtime_with(options, []() -> Task<> {
        Runtime& runtime = Runtime::current();
        std::atomic<bool> stop{false};
        std::atomic<int> dumps{0};
        std::thread foreign([&] {
            while (!stop) {
                std::ostringstream out;
                runtime.dump_tasks(out);
                ++dumps;
            }
        });
        Scope scope;
        for (unsigned child = 0; child < 60; ++child)
            scope.spawn_on(
                child % 3,
                [](std::atomic<bool>* end) -> Task<> {
                    while (!*end) {
                        Scope nested;
                        for (int task = 0; task < 3; ++task)
                            nested.spawn([]() -> Task<> { (void)co_await sleep_for(20us); });
                        co_await nested.join();
                    }
                },
                &stop);
        for (unsigned worker = 0; worker < 3; ++worker)
            scope.spawn_on(
                worker,
                [](std::atomic<bool>* end, std::atomic<int>* count) -> Task<> {
                    for (int round = 0; round < 30; ++round) {
                        const std::string text = dump();
                        if (has(text, "main on worker 0")) ++*count;
                        co_await yield();
                    }
                    (void)end;
                },
                &stop, &dumps);
        while (dumps < 100) co_await sleep_for(100us);
        stop = true;
        co_await scope.join();
        foreign.join();
    });
}

TEST_CASE("a worker that does not come to its next task is named, and the others are still described" * not_simulated()) {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        std::atomic<bool> release{false};
        std::atomic<bool> stuck{false};
        Event event;
        Scope scope;
        scope.spawn_on(1, outer_wait, &event);
        scope.spawn_on(
            1,
            [](std::atomic<bool>* end, std::atomic<bool>* begun) -> Task<> {
                name_this_task("the stuck one");
                co_await passes(3);
                *begun = true;
                while (!*end) std::this_thread::yield();
            },
            &release, &stuck);
        while (!stuck) co_await yield();
        const std::string text = dump();
        release = true;
        INFO(text);
        CHECK(has(text, "the stuck one on worker 1: has been running without a pause"));
        CHECK(has(text, "on worker 1: event"));
        event.set();
        co_await scope.join();
    });
}

TEST_CASE("a signal writes the dump to the log, if the option says so" * not_simulated()) {
    RuntimeOptions options = one_worker();
    options.dump_signal = SIGUSR2;
    options.log = keep_log;
    take_log();
    in_runtime_with(options, []() -> Task<> {
        Event event;
        Scope scope;
        scope.spawn(outer_wait, &event);
        co_await passes(2);
        std::raise(SIGUSR2);
        std::string text;
        while (!has(text, "inner_wait")) {
            co_await sleep_for(1ms);
            text += take_log();
        }
        CHECK(has(text, "main on worker 0"));
        event.set();
        co_await scope.join();
    });
    struct sigaction action {};
    sigaction(SIGUSR2, nullptr, &action);
    CHECK((action.sa_handler == SIG_DFL));
}

TEST_CASE("what did not stop within the grace period is reported, and what resists the cancel once more") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    options.stop_grace = 3s;
    options.log = keep_log;
    take_log();
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            Scope scope;
            scope.spawn([]() -> Task<> {
                name_this_task("stubborn");
                co_await shielded([]() -> Task<> { (void)co_await sleep_for(1min); }());
            });
            co_await passes(2);
            Runtime::current().request_stop();
            for (int step = 0; step < 3; ++step) {
                co_await passes(2);
                time->advance(1s);
            }
            co_await passes(2);
            const std::string first = take_log();
            INFO(first);
            CHECK(has(first, "did not stop within 3.0 s and are cancelled:"));
            CHECK(has(first, "stubborn on worker 0: sleep"));
            time->advance(1s);
            co_await passes(2);
            const std::string second = take_log();
            INFO(second);
            CHECK(has(second, "have not ended a second after they were cancelled:"));
            CHECK(has(second, "; shielded, cancelled"));
            time->advance(2min);
            co_await scope.join();
        },
        &clock);
}

#endif
