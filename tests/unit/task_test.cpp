// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <memory>
#include <stdexcept>

using namespace support;

namespace {

Task<int> answer() {
    co_return 42;
}
Task<std::unique_ptr<int>> boxed(int value) {
    co_return std::make_unique<int>(value);
}
Task<> failing() {
    throw std::runtime_error("from the depth");
    co_return;
}
Task<int> nested(int depth) {
    if (depth == 0) co_return 0;
    co_return 1 + co_await nested(depth - 1);
}
Task<> take(Counted, Counted&) {
    co_return;
}

}  // namespace

TEST_CASE("a Task yields its value to the one who awaits it") {
    in_runtime([]() -> Task<> {
        CHECK(co_await answer() == 42);
        auto box = co_await boxed(7);
        CHECK(*box == 7);
    });
}

TEST_CASE("an exception travels through Tasks to the await") {
    in_runtime([]() -> Task<> {
        std::string what;
        try {
            co_await failing();
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK(what == "from the depth");
    });
    CHECK_THROWS_AS(in_runtime(failing), std::runtime_error);
}

TEST_CASE("two million awaits of ready tasks in a row need no stack") {
    in_runtime([]() -> Task<> {
        long sum = 0;
        for (int round = 0; round < 2'000'000; ++round) sum += co_await answer();
        CHECK(sum == 84'000'000);
    });
}

TEST_CASE("a chain of a hundred thousand nested tasks needs no stack") {
    in_runtime([]() -> Task<> { CHECK(co_await nested(100'000) == 100'000); });
}

TEST_CASE("arguments and values are destroyed as often as they were made") {
    Counted::alive = 0;
    in_runtime([]() -> Task<> {
        Counted kept;
        for (int round = 0; round < 10; ++round) co_await take(Counted(), kept);
        auto unawaited = take(kept, kept);
        CHECK(Counted::alive == 2);
    });
    CHECK(Counted::alive == 0);
}

TEST_CASE("a value, an int and a Result from the main task become the exit code") {
    const RuntimeOptions options = one_worker();
    CHECK(chainring::run(options, []() -> Task<> { co_return; }) == 0);
    CHECK(chainring::run(options, []() -> Task<int> { co_return 3; }) == 3);
    CHECK(chainring::run(options, []() -> Task<Result<void>> { co_return Result<void>(); }) == 0);
    CHECK(chainring::run(options, []() -> Task<Result<void>> { co_return Errc::closed; }) == 1);
    CHECK(chainring::run(options, failing) == 1);
    CHECK(chainring::run(
              options, [](int code) -> Task<int> { co_return code; }, 9) == 9);
}
