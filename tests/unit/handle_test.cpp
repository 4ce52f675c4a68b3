// SPDX-License-Identifier: BSL-1.0
// Handle: what a started child leaves for the one who asks, or for nobody.
#include "tests/unit/support.hpp"

#include <stdexcept>
#include <string>

using namespace support;

TEST_CASE("a started child gives its value, its error or its exception through the handle") {
    in_runtime([]() -> Task<> {
        Scope scope;
        auto number = scope.start(
            [](int value) -> Task<int> {
                co_await yield();
                co_return value * 2;
            },
            21);
        auto text = scope.start([]() -> Task<Result<std::string>> { co_return Errc::not_supported; });
        auto nothing = scope.start([]() -> Task<> { co_return; });
        CHECK(!number.ended());
        CHECK((co_await number.result()).value() == 42);
        CHECK(number.ended());
        auto error = co_await text.result();
        CHECK(error.error() == Errc::not_supported);
        CHECK((co_await nothing.result()).has_value());
        auto slow = scope.start([]() -> Task<int> {
            co_await sleep_for(1h);
            co_return 7;
        });
        auto late = co_await slow.result().within(1ms);
        CHECK(late.error() == Errc::timed_out);
        scope.cancel();
        auto after = co_await slow.result();
        CHECK(after.value() == 7);
        co_await scope.join();
    });
    in_runtime([]() -> Task<> {
        std::string what;
        std::string joined;
        Scope scope;
        auto failing = scope.start([]() -> Task<int> {
            co_await yield();
            throw std::runtime_error("child");
            co_return 1;
        });
        try {
            (void)co_await failing.result();
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        try {
            co_await scope.join();
        } catch (const std::runtime_error& error) {
            joined = error.what();
        }
        CHECK(what == "child");
        CHECK(joined == "child");
    });
}

TEST_CASE("a value that nobody asks for is destroyed with the child or its handle") {
    Counted::alive = 0;
    in_runtime([]() -> Task<> {
        Scope scope;
        {
            auto dropped = scope.start([]() -> Task<Counted> {
                co_await yield();
                co_return Counted();
            });
        }
        auto kept = scope.start([]() -> Task<Counted> { co_return Counted(); });
        co_await scope.join();
        CHECK(Counted::alive == 1);
    });
    CHECK(Counted::alive == 0);
}
