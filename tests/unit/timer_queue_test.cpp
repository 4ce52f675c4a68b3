// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/timer_queue.hpp"

#include "tests/unit/support.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

using namespace chainring;

namespace {

struct Recorder : detail::TimerNode {
    Recorder() noexcept {
        fire = [](detail::TimerNode& node) noexcept {
            auto& self = static_cast<Recorder&>(node);
            self.order->push_back(self.id);
        };
    }
    std::vector<int>* order = nullptr;
    int id = 0;
};

Instant at(int milliseconds) {
    return Instant(std::chrono::milliseconds(milliseconds));
}

}  // namespace

TEST_CASE("timers fire in the order of their instants, never early, and cancelled ones not at all") {
    std::mt19937 random(20260101);
    detail::TimerQueue queue;
    std::vector<int> order;
    std::vector<std::unique_ptr<Recorder>> timers;
    std::vector<int> due(2000);
    for (int id = 0; id < 2000; ++id) {
        auto& timer = *timers.emplace_back(std::make_unique<Recorder>());
        timer.order = &order;
        timer.id = id;
        due[static_cast<std::size_t>(id)] = static_cast<int>(random() % 10000);
        queue.arm(timer, at(due[static_cast<std::size_t>(id)]));
    }
    for (int id = 0; id < 2000; id += 3) queue.cancel(*timers[static_cast<std::size_t>(id)]);
    for (int id = 1; id < 2000; id += 3) {  // moved, earlier and later
        due[static_cast<std::size_t>(id)] = static_cast<int>(random() % 10000);
        queue.arm(*timers[static_cast<std::size_t>(id)], at(due[static_cast<std::size_t>(id)]));
    }
    for (int now = 0; now < 10000; now += 37) {
        const std::size_t before = order.size();
        queue.expire(at(now));
        for (std::size_t fired = before; fired < order.size(); ++fired) {
            const int when = due[static_cast<std::size_t>(order[fired])];
            CHECK(when <= now);
            CHECK(when > now - 37);
        }
        CHECK(queue.next() > at(now));
    }
    queue.expire(at(10000));
    CHECK(queue.empty());
    CHECK(order.size() == 2000 - 667);
    CHECK(std::is_sorted(order.begin(), order.end(), [&](int left, int right) {
        return due[static_cast<std::size_t>(left)] < due[static_cast<std::size_t>(right)];
    }));
}

TEST_CASE("a timer may arm itself again while it fires") {
    struct Again : detail::TimerNode {
        detail::TimerQueue* queue = nullptr;
        int fired = 0;
    } again;
    detail::TimerQueue queue;
    again.queue = &queue;
    again.fire = [](detail::TimerNode& node) noexcept {
        auto& self = static_cast<Again&>(node);
        if (++self.fired < 3) self.queue->arm(self, self.when + std::chrono::milliseconds(10));
    };
    queue.arm(again, at(10));
    queue.expire(at(25));
    CHECK(again.fired == 2);
    queue.expire(at(1000));
    CHECK(again.fired == 3);
    CHECK(queue.empty());
}
