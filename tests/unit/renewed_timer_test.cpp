// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/renewed_timer.hpp"

#include "tests/unit/support.hpp"

#include <array>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

struct Watched : detail::RenewedTimer {
    Watched() noexcept {
        fire = [](detail::TimerNode& node) noexcept {
            auto& self = static_cast<Watched&>(static_cast<detail::RenewedTimer&>(node));
            ++self.looked_at;
            if (self.passed(*self.queue, *self.now)) ++self.timed_out;
        };
    }
    detail::TimerQueue* queue = nullptr;
    Instant* now = nullptr;
    int looked_at = 0;
    int timed_out = 0;
};

struct Setting {
    Setting() noexcept {
        timer.queue = &queue;
        timer.now = &now;
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

}  // namespace

TEST_CASE("a renewed deadline is looked at once for each time that it would have passed") {
    Setting set;
    set.timer.renew(set.queue, Instant(1h + 30s));
    for (int second = 1; second <= 29; ++second) {
        set.go_to(Instant(1h + second * 1s));
        set.timer.renew(set.queue, set.now + 30s);
        CHECK(set.queue.next() == Instant(1h + 30s));
    }
    set.go_to(Instant(1h + 30s));
    CHECK(set.timer.looked_at == 1);
    CHECK(set.queue.next() == Instant(1h + 59s));
    set.go_to(Instant(1h + 59s - 1ns));
    CHECK(set.timer.timed_out == 0);
    set.go_to(Instant(1h + 59s));
    CHECK(set.timer.looked_at == 2);
    CHECK(set.timer.timed_out == 1);
    CHECK(set.queue.empty());
}

TEST_CASE("a deadline may be renewed to an earlier one, and stopped") {
    Setting set;
    set.timer.renew(set.queue, Instant(2h));
    set.timer.renew(set.queue, Instant(1h + 1s));
    CHECK(set.queue.next() == Instant(1h + 1s));
    set.timer.stop();
    set.go_to(Instant(3h));
    CHECK(set.timer.timed_out == 0);
    CHECK(set.queue.empty());
    set.timer.renew(set.queue, Instant(-1h));  // the past
    set.go_to(Instant(3h));
    CHECK(set.timer.timed_out == 1);
}

TEST_CASE("durations renewed in a pass count from its end") {
    Setting set;
    CHECK(set.renewals.add(set.timer, 10s));
    CHECK(set.renewals.add(set.timer, 5s));  // the last one holds
    CHECK_FALSE(set.timer.armed());
    set.renewals.stamp(set.queue, Instant(1h + 2s));
    CHECK_FALSE(set.renewals.any());
    CHECK(set.queue.next() == Instant(1h + 7s));

    CHECK(set.renewals.add(set.timer, 5s));
    set.timer.stop();  // in the same pass
    set.renewals.stamp(set.queue, Instant(1h + 3s));
    set.go_to(Instant(2h));
    CHECK(set.timer.looked_at == 1);
    CHECK(set.timer.timed_out == 0);

    CHECK(set.renewals.add(set.timer, Duration::max()));
    set.renewals.stamp(set.queue, set.now);
    CHECK(set.queue.next() == Instant::max());
    CHECK(set.renewals.add(set.timer, -1s));
    set.renewals.stamp(set.queue, set.now);
    CHECK(set.queue.next() == set.now);
}

TEST_CASE("an entry that falls due before the stamp of its renewal is not taken for timed out") {
    Setting set;
    set.timer.renew(set.queue, Instant(1h + 1s));
    CHECK(set.renewals.add(set.timer, 10s));
    set.go_to(Instant(1h + 1s));
    CHECK(set.timer.looked_at == 1);
    CHECK(set.timer.timed_out == 0);
    set.renewals.stamp(set.queue, set.now);
    CHECK(set.queue.next() == Instant(1h + 11s));
}

TEST_CASE("a pass with more renewals than there is room for is told so") {
    Setting set;
    std::array<Watched, detail::Renewals::capacity> others;
    for (Watched& other : others) CHECK(set.renewals.add(other, 1s));
    CHECK_FALSE(set.renewals.add(set.timer, 1s));
    set.renewals.stamp(set.queue, set.now);
    CHECK(set.renewals.add(set.timer, 1s));
    set.renewals.stamp(set.queue, set.now);
    CHECK(set.queue.size() == others.size() + 1);
    for (Watched& other : others) set.queue.cancel(other);
}
