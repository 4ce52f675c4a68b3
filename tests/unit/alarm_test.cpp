// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/uring/alarm.hpp"

#include <doctest/doctest.h>

using namespace chainring;
using namespace chainring::detail;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t ignored = 0;
constexpr std::uint64_t tag = 7;

bool moves(const io_uring_sqe& entry) {
    return entry.opcode == IORING_OP_TIMEOUT_REMOVE;
}

Duration time_of(const io_uring_sqe& entry) {
    const auto& time = *reinterpret_cast<const __kernel_timespec*>(moves(entry) ? entry.off : entry.addr);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

TEST_CASE("an alarm pays for a deadline that is asked for twice in a row") {
    Alarm alarm(tag, ignored);
    const Instant one = Instant() + 1s;
    CHECK_FALSE(alarm.pays_for(one));
    CHECK(alarm.pays_for(one));
    CHECK_FALSE(alarm.pays_for(one + 1s));
    CHECK_FALSE(alarm.pays_for(one));
}

TEST_CASE("an alarm covers the deadline that it is set for and later ones, until it goes off") {
    Alarm alarm(tag, ignored);
    const Instant deadline = Instant() + 2s;
    CHECK(alarm.covers(Instant::max()));
    CHECK_FALSE(alarm.covers(deadline));
    io_uring_sqe entry{};
    alarm.set(entry, deadline, 1'500ms);
    CHECK(entry.user_data == tag);
    CHECK(time_of(entry) == 1'500ms);
    CHECK(alarm.covers(deadline));
    CHECK(alarm.covers(deadline + 1ns));
    CHECK_FALSE(alarm.covers(deadline - 1ns));
    alarm.went_off(-ETIME);
    CHECK_FALSE(alarm.covers(deadline));
    CHECK(alarm.covers(Instant::max()));
}

TEST_CASE("an alarm that is set is moved to an earlier deadline, without a completion when that succeeds") {
    Alarm alarm(tag, ignored);
    const Instant late = Instant() + 2s, early = Instant() + 1s;
    io_uring_sqe first{}, second{}, third{};
    alarm.set(first, late, 2s);
    CHECK_FALSE(moves(first));
    alarm.set(second, early, 1s);
    CHECK(moves(second));
    CHECK(second.addr == tag);
    CHECK(second.user_data == ignored);
    CHECK((second.flags & IOSQE_CQE_SKIP_SUCCESS) != 0);
    CHECK(time_of(second) == 1s);
    CHECK(alarm.covers(early));
    alarm.went_off(-ETIME);
    alarm.set(third, late, 2s);
    CHECK_FALSE(moves(third));
}

TEST_CASE("an alarm that the kernel refused is not set again") {
    Alarm alarm(tag, ignored);
    const Instant deadline = Instant() + 1s;
    io_uring_sqe entry{};
    alarm.set(entry, deadline, 1s);
    alarm.went_off(-EINVAL);
    CHECK_FALSE(alarm.covers(deadline));
    CHECK_FALSE(alarm.pays_for(deadline));
    CHECK_FALSE(alarm.pays_for(deadline));
}
