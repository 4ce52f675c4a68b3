// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <memory>
#include <system_error>

using namespace chainring;

TEST_CASE("a Result holds a value or an error") {
    Result<std::unique_ptr<int>> good(std::make_unique<int>(7));
    REQUIRE(good);
    CHECK(**good == 7);
    CHECK(!good.error());
    Result<std::unique_ptr<int>> bad(Errc::eof);
    CHECK(!bad);
    CHECK(bad.error() == Errc::eof);
    good = std::move(bad);
    CHECK(!good);
}

TEST_CASE("value() of an error throws and names the caller's line") {
    Result<int> bad(Errc::timed_out);
    try {
        [[maybe_unused]] const int value = bad.value();
        FAIL("value() returned");
    } catch (const std::system_error& error) {
        CHECK(error.code() == Errc::timed_out);
        CHECK(std::string(error.what()).find("result_test.cpp:") != std::string::npos);
        CHECK(std::string(error.what()).find("timed out") != std::string::npos);
    }
    CHECK_THROWS_AS(Result<void>(Errc::closed).value(), std::system_error);
}

TEST_CASE("a Result destroys its value exactly once") {
    support::Counted::alive = 0;
    {
        Result<support::Counted> first{support::Counted()};
        Result<support::Counted> second(std::move(first));
        first = Result<support::Counted>(Errc::eof);
        second = std::move(first);
    }
    CHECK(support::Counted::alive == 0);
}

TEST_CASE("every Errc has a text and its portable condition") {
    for (int code = 1; code <= static_cast<int>(Errc::not_supported); ++code)
        CHECK(make_error_code(static_cast<Errc>(code)).message() != "unknown error");
    CHECK(make_error_code(Errc::timed_out) == std::errc::timed_out);
    CHECK(make_error_code(Errc::cancelled) == std::errc::operation_canceled);
}
