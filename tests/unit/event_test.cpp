// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <thread>

using namespace support;

TEST_CASE("set lets all waiters through in their order, and those who come later") {
    in_runtime([]() -> Task<> {
        Event event;
        std::string order;
        Scope scope;
        for (int id = 0; id < 5; ++id)
            scope.spawn(
                [](Event* gate, std::string* passed, int number) -> Task<> {
                    const auto waited = co_await gate->wait();
                    if (waited) *passed += std::to_string(number);
                },
                &event, &order, id);
        co_await yield();
        CHECK(order.empty());
        event.set();
        CHECK(co_await event.wait());
        co_await scope.join();
        CHECK(order == "01234");
        event.reset();
        CHECK(!event.is_set());
        auto waited = co_await event.wait().within(1ms);
        CHECK(waited.error() == Errc::timed_out);
    });
}

TEST_CASE("a cancelled wait ends with cancelled") {
    in_runtime([]() -> Task<> {
        Event event;
        std::error_code error;
        Scope scope;
        scope.spawn([](Event* gate, std::error_code* outcome) -> Task<> { *outcome = (co_await gate->wait()).error(); },
                    &event, &error);
        co_await yield();
        scope.cancel();
        co_await scope.join();
        CHECK(error == Errc::cancelled);
    });
}

TEST_CASE("set from another thread, racing with limits and cancels, loses nobody") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        for (int round = 0; round < 500; ++round) {
            Event event;
            std::atomic<int> ended{0};
            Scope scope;
            for (unsigned task = 0; task < 8; ++task)
                scope.spawn_on(
                    task % 2,
                    [](Event* gate, std::atomic<int>* count, int microseconds) -> Task<> {
                        auto waited = co_await gate->wait().within(std::chrono::microseconds(microseconds));
                        if (waited || waited.error() == Errc::timed_out || waited.error() == Errc::cancelled) ++*count;
                    },
                    &event, &ended, static_cast<int>(task) * 40);
            co_await yield();
            std::thread setter([&event] { event.set(); });
            if (round % 3 == 0) scope.cancel();
            co_await scope.join();
            setter.join();
            CHECK(ended == 8);
        }
    });
}
