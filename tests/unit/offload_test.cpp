// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

using namespace support;

namespace {

// A door that threads wait at.
class Door {
public:
    void open() {
        const std::lock_guard lock(mutex_);
        open_ = true;
        changed_.notify_all();
    }
    void pass() {
        std::unique_lock lock(mutex_);
        ++inside_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return open_; });
    }
    int inside() {
        const std::lock_guard lock(mutex_);
        return inside_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool open_ = false;
    int inside_ = 0;
};

int pass_and_count(Door* door, std::atomic<int>* count) {
    door->pass();
    return ++*count;
}

Task<> go_through(Door* door, std::atomic<int>* count, std::atomic<int>* cancelled) {
    auto result = co_await offload(pass_and_count, door, count);
    if (!result) ++*cancelled;
}

RuntimeOptions threads(unsigned count) {
    RuntimeOptions options = one_worker();
    options.offload_threads = count;
    return options;
}

}  // namespace

TEST_CASE("an offloaded call runs on another thread; its value, error and exception come back to this worker" *
          not_simulated()) {
    in_runtime([]() -> Task<> {
        const auto here = std::this_thread::get_id();
        auto there = co_await offload([] { return std::this_thread::get_id(); });
        CHECK(there.value() != here);
        CHECK(std::this_thread::get_id() == here);
        auto sum = co_await offload([](int a, std::unique_ptr<int> b) { return a + *b; }, 2, std::make_unique<int>(3));
        CHECK(sum.value() == 5);
        auto nothing = co_await offload([] {});
        CHECK(nothing.has_value());
        auto error = co_await offload([]() -> Result<int> { return Errc::not_supported; });
        CHECK(error.error() == Errc::not_supported);
        std::string what;
        try {
            (void)co_await offload([]() -> int { throw std::runtime_error("from the pool"); });
        } catch (const std::runtime_error& failure) {
            what = failure.what();
        }
        CHECK(what == "from the pool");
    });
}

TEST_CASE("a call that waits is withdrawn by cancel or limit; one that runs is waited for and delivers" *
          not_simulated()) {
    in_runtime_with(threads(1), []() -> Task<> {
        Door door;
        std::atomic<int> count{0};
        std::atomic<int> cancelled{0};
        Scope running;
        running.spawn(go_through, &door, &count, &cancelled);
        while (door.inside() < 1) co_await yield();
        Scope waiting;
        for (int call = 0; call < 20; ++call) waiting.spawn(go_through, &door, &count, &cancelled);
        auto limited = co_await offload(pass_and_count, &door, &count).within(1ms);
        CHECK(limited.error() == Errc::timed_out);
        waiting.cancel();
        co_await waiting.join();
        CHECK(cancelled == 20);
        running.cancel();
        co_await passes(3);
        CHECK(running.size() == 1);
        door.open();
        co_await running.join();
        CHECK(count == 1);
        CHECK(cancelled == 20);
    });
}

TEST_CASE("a full queue rejects, when the option says so; else calls wait their turn" * not_simulated()) {
    RuntimeOptions options = threads(2);
    options.offload_queue = 3;
    options.offload_full = OffloadFull::reject;
    in_runtime_with(options, []() -> Task<> {
        Door door;
        std::atomic<int> count{0};
        std::atomic<int> refused{0};
        Scope scope;
        for (int call = 0; call < 2; ++call) scope.spawn(go_through, &door, &count, &refused);
        while (door.inside() < 2) co_await yield();
        for (int call = 0; call < 3; ++call) scope.spawn(go_through, &door, &count, &refused);
        co_await passes(2);
        auto full = co_await offload(pass_and_count, &door, &count);
        CHECK(full.error() == Errc::overloaded);
        door.open();
        co_await scope.join();
        CHECK(count == 5);
        CHECK(refused == 0);
    });
    in_runtime_with(threads(3), []() -> Task<> {
        Door door;
        std::atomic<int> count{0};
        std::atomic<int> refused{0};
        Scope scope;
        for (int call = 0; call < 1000; ++call) scope.spawn(go_through, &door, &count, &refused);
        co_await passes(2);
        door.open();
        co_await scope.join();
        CHECK(count == 1000);
    });
}

TEST_CASE("calls that race with cancel run whole or not at all") {
    RuntimeOptions options = threads(2);
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        std::atomic<int> ran{0};
        std::atomic<int> delivered{0};
        for (int round = 0; round < 2000; ++round) {
            Scope scope;
            for (unsigned call = 0; call < 4; ++call)
                scope.spawn_on(
                    call % 2,
                    [](std::atomic<int>* calls, std::atomic<int>* results) -> Task<> {
                        auto result = co_await offload([](std::atomic<int>* counter) { return ++*counter; }, calls);
                        if (result) ++*results;
                    },
                    &ran, &delivered);
            for (int pause = round % 7; pause > 0; --pause) co_await yield();
            scope.cancel();
            co_await scope.join();
        }
        CHECK(ran == delivered);
        MESSAGE("calls that ran: " << ran << " of 8000");
    });
}
