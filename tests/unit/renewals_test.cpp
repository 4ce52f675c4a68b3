// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/renewals.hpp"

#include "tests/unit/support.hpp"

#include <array>
#include <vector>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

struct Watched : detail::RenewedTimer {
    Watched() noexcept {
        fire = [](detail::TimerNode& node) noexcept {
            auto& self = static_cast<Watched&>(static_cast<detail::RenewedTimer&>(node));
            ++self.fired;
            if (self.queue->passed(self)) ++self.timed_out;
        };
    }
    detail::TimerQueue* queue = nullptr;
    int fired = 0;
    int timed_out = 0;
};

struct Setting {
    Setting() {
        timer.queue = &queue;
        queue.expire(now);
    }
    void go_to(Instant when) {
        now = when;
        queue.expire(now);
    }
    detail::TimerQueue queue;
    detail::Renewals renewals;
    Instant now{1h};
    Watched timer;
};

detail::Limit within(Duration duration) {
    detail::Limit limit;
    limit.within(duration);
    return limit;
}

detail::Limit until(Instant instant) {
    detail::Limit limit;
    limit.until(instant);
    return limit;
}

}  // namespace

TEST_CASE("a renewed deadline passes at the last one stored, and not before") {
    Setting set;
    set.queue.renew(set.timer, Instant(1h + 30s));
    CHECK(set.queue.next() == Instant(1h + 30s));
    for (int second = 1; second <= 29; ++second) {
        set.go_to(Instant(1h + second * 1s));
        set.queue.renew(set.timer, set.now + 30s);
    }
    set.go_to(Instant(1h + 30s));
    set.go_to(Instant(1h + 59s - 1ns));
    CHECK(set.timer.fired <= 1);
    CHECK(set.timer.timed_out == 0);
    CHECK(set.queue.next() == Instant(1h + 59s));
    set.go_to(Instant(1h + 59s));
    CHECK(set.timer.timed_out == 1);
    CHECK(set.queue.empty());
}

TEST_CASE("a deadline may be renewed to an earlier one, or to one in the past") {
    Setting set;
    set.queue.renew(set.timer, Instant(2h));
    set.queue.renew(set.timer, Instant(1h + 1s));
    CHECK(set.queue.next() == Instant(1h + 1s));
    set.go_to(Instant(1h + 1s));
    CHECK(set.timer.timed_out == 1);
    set.queue.renew(set.timer, Instant::max());
    CHECK(set.queue.next() == Instant::max());
    set.queue.renew(set.timer, Instant(-1h));
    set.go_to(Instant(1h + 2s));
    CHECK(set.timer.timed_out == 2);
    CHECK(set.queue.empty());
}

TEST_CASE("of many that are renewed all the time none fires, and once they are not, each does at its deadline") {
    Setting set;
    std::vector<Watched> timers(500);
    for (Watched& timer : timers) timer.queue = &set.queue;
    for (int tenth = 0; tenth < 1000; ++tenth) {
        for (std::size_t at = 0; at < timers.size(); ++at)
            set.queue.renew(timers[at], set.now + 5s + Duration(at * 1234));
        set.go_to(set.now + 100ms);
    }
    const auto count = [&timers](int Watched::*what) {
        int sum = 0;
        for (const Watched& timer : timers) sum += timer.*what;
        return sum;
    };
    CHECK(count(&Watched::fired) < 20);  // a few may be in the heap
    const Instant renewed = set.now - 100ms;
    set.go_to(renewed + 5s - 1ns);
    CHECK(count(&Watched::timed_out) == 0);
    for (std::size_t at = 0; at < timers.size(); ++at) {
        CHECK(set.queue.next() <= renewed + 5s + Duration(at * 1234));
        set.go_to(renewed + 5s + Duration(at * 1234));
        CHECK(count(&Watched::timed_out) == static_cast<int>(at) + 1);
    }
    CHECK(set.queue.empty());
}

TEST_CASE("durations renewed in a pass count from its end, and the last one holds") {
    Setting set;
    set.renewals.add(set.timer, within(10s));
    set.renewals.add(set.timer, within(5s));
    CHECK_FALSE(set.timer.armed());
    set.renewals.stamp(set.queue, Instant(1h + 2s));
    CHECK(set.renewals.empty());
    CHECK(set.queue.next() == Instant(1h + 7s));

    set.renewals.add(set.timer, within(5s));
    set.renewals.add(set.timer, until(Instant(2h)));
    set.renewals.stamp(set.queue, Instant(1h + 3s));
    set.go_to(Instant(2h - 1ns));
    CHECK(set.timer.timed_out == 0);
    set.go_to(Instant(2h));
    CHECK(set.timer.timed_out == 1);

    set.renewals.add(set.timer, within(Duration::max()));
    set.renewals.stamp(set.queue, set.now);
    CHECK(set.queue.next() == Instant::max());
    set.renewals.add(set.timer, within(-1s));
    set.renewals.stamp(set.queue, set.now);
    set.go_to(set.now);
    CHECK(set.timer.timed_out == 2);
}

TEST_CASE("renewals say when there is no more room") {
    Setting set;
    std::array<Watched, detail::Renewals::capacity> timers;
    for (Watched& timer : timers) {
        CHECK_FALSE(set.renewals.full());
        set.renewals.add(timer, within(1s));
    }
    CHECK(set.renewals.full());
    set.renewals.stamp(set.queue, set.now);
    CHECK(set.renewals.empty());
    CHECK(set.queue.size() == timers.size());
    for (Watched& timer : timers) set.queue.cancel(timer);

    CHECK_FALSE(set.renewals.full());
    set.renewals.close();
    CHECK(set.renewals.full());
}
