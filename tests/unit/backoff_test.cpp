// SPDX-License-Identifier: BSL-1.0
#include <chainring/backoff.hpp>
#include <chainring/errc.hpp>
#include <chainring/random.hpp>
#include <chainring/resolve.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <doctest/doctest.h>
#include <set>
#include <thread>

using namespace chainring;
using namespace std::chrono_literals;

TEST_CASE("random() yields other numbers each time, on each thread, and each bit in half of them") {
    std::set<std::uint64_t> seen;
    std::array<int, 64> ones{};
    const auto draw = [&] {
        for (int round = 0; round < 4000; ++round) {
            const std::uint64_t number = chainring::random();
            seen.insert(number);
            for (unsigned bit = 0; bit < 64; ++bit) ones[bit] += static_cast<int>(number >> bit & 1);
        }
    };
    draw();
    std::thread(draw).join();
    CHECK(seen.size() == 8000);
    for (const int count : ones) {
        CHECK(count > 3600);  // nine standard deviations
        CHECK(count < 4400);
    }
}

TEST_CASE("pauses double up to the longest, and begin anew after a success") {
    Backoff backoff(RetryPolicy{.jitter = 0});
    for (const Duration expected : {500ms, 1000ms, 2000ms, 4000ms, 8000ms, 16000ms, 30000ms, 30000ms})
        CHECK(backoff.next() == expected);
    backoff.reset();
    CHECK(backoff.next() == 500ms);
}

TEST_CASE("jitter shortens each pause, by its part at most, and differently each time") {
    Backoff backoff(RetryPolicy{.first = 1s, .factor = 1, .jitter = 0.5});
    std::set<Duration> seen;
    for (int round = 0; round < 1000; ++round) {
        const auto pause = backoff.next();
        REQUIRE(pause);
        CHECK(*pause > 500ms - 1ns);
        CHECK(*pause <= 1s);
        seen.insert(*pause);
    }
    CHECK(seen.size() > 900);
    CHECK(*seen.begin() < 550ms);
    CHECK(*seen.rbegin() > 950ms);
}

TEST_CASE("n attempts have n - 1 pauses between them") {
    CHECK(!Backoff(no_retry).next());
    Backoff three(RetryPolicy{.attempts = 3});
    CHECK(three.next());
    CHECK(three.next());
    CHECK(!three.next());
    three.reset();
    CHECK(three.next());
}

TEST_CASE("pauses do not overflow") {
    Backoff backoff(RetryPolicy{.first = 1h, .factor = 1e9, .most = Duration::max(), .jitter = 0});
    CHECK(backoff.next() == 1h);
    for (int round = 0; round < 100; ++round) {
        const auto pause = backoff.next();
        REQUIRE(pause);
        CHECK(*pause > 1h);
    }
}

TEST_CASE("errors are permanent when another attempt would end with them, too") {
    for (const int error : {EACCES, EPERM, EAFNOSUPPORT, EPROTONOSUPPORT, EINVAL})
        CHECK(is_permanent({error, std::system_category()}));
    for (const int error : {ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, ENOENT, EAGAIN, EMFILE})
        CHECK(!is_permanent({error, std::system_category()}));
    CHECK(is_permanent(ResolveErrc::not_found));
    CHECK(!is_permanent(ResolveErrc::temporary_failure));
    CHECK(is_permanent(Errc::invalid_address));
    CHECK(is_permanent(Errc::cancelled));
}
