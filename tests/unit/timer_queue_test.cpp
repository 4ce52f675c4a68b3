// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/timer_queue.hpp"

#include "tests/unit/support.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <vector>

using namespace chainring;
using namespace std::chrono_literals;

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

namespace {

// The same timers in a TimerQueue and in a multimap, which is the model.
class Both {
public:
    explicit Both(std::size_t count, std::uint32_t seed) : random_(seed), timers_(count) {
        for (Timer& timer : timers_) {
            timer.both = this;
            timer.modelled = model_.end();
            timer.fire = [](detail::TimerNode& node) noexcept {
                auto& self = static_cast<Timer&>(node);
                self.both->fired(self);
            };
        }
    }

    void step() {
        Timer& timer = timers_[draw() % timers_.size()];
        const std::uint32_t choice = draw() % 100;
        if (choice < 45)
            arm(timer, some_instant());
        else if (choice < 70)
            cancel(timer);
        else if (choice < 98)
            advance(Duration(draw() % (choice < 90 ? 300'000 : 90'000'000)));
        else
            advance(Duration(static_cast<Duration::rep>(draw() >> (draw() % 32)) * 100'000));
        CHECK(queue_.size() == model_.size());
    }

    // Lets the clock follow next() alone, as a worker that parks does.
    void drain() {
        for (std::size_t wakes = 0; queue_.next() != Instant::max(); ++wakes) {
            REQUIRE(wakes < 20 * timers_.size());
            advance(std::max(Duration(0), Duration(queue_.next() - now_)));
        }
        for (const auto& left : model_) CHECK(left.first == Instant::max());
    }
    std::size_t fires() const noexcept { return fires_; }

private:
    std::uint32_t draw() { return static_cast<std::uint32_t>(random_()); }
    struct Timer;
    using Model = std::multimap<Instant, Timer*>;
    struct Timer : detail::TimerNode {
        Both* both = nullptr;
        Model::iterator modelled;
    };

    // From a nanosecond to thousands of years ahead, the past, never; often on or beside the beginning of a tick or
    // slot.
    Instant some_instant() {
        const std::uint32_t kind = draw() % 50;
        if (kind == 0) return Instant::max();
        if (kind == 1) return now_ - Duration(draw() % 5'000'000);
        const auto wide = static_cast<Duration::rep>(std::uint64_t{draw()} << 32 | draw());
        if (kind == 2) return Instant(Duration(wide & std::numeric_limits<Duration::rep>::max()));
        const unsigned bits = 1 + draw() % 40;
        const Instant when = now_ + Duration(wide & ((Duration::rep{1} << bits) - 1));
        if (kind < 40) return when;
        const unsigned boundary = 20 + 6 * (draw() % 4);
        const Duration::rep begin = when.time_since_epoch().count() >> boundary << boundary;
        return Instant(Duration(begin + static_cast<Duration::rep>(draw() % 3) - 1));
    }

    void arm(Timer& timer, Instant when) {
        forget(timer);
        queue_.arm(timer, when);
        timer.modelled = model_.emplace(when, &timer);
    }
    void cancel(Timer& timer) {
        queue_.cancel(timer);
        forget(timer);
    }
    void forget(Timer& timer) {
        if (timer.modelled != model_.end()) model_.erase(timer.modelled);
        timer.modelled = model_.end();
    }

    void advance(Duration by) {
        now_ += by;
        armed_by_fire_ = 0;
        queue_.expire(now_);
        while (true_next() <= now_) {  // what a fire armed may be left for the next call, when there were many
            REQUIRE(armed_by_fire_ > 0);
            armed_by_fire_ = 0;
            queue_.expire(now_);
        }
        const Instant next = queue_.next();
        CHECK(next > now_);
        CHECK(next <= true_next());
        if (model_.size() <= 16) CHECK(next == true_next());
    }
    Instant true_next() const { return model_.empty() ? Instant::max() : model_.begin()->first; }

    void fired(Timer& timer) noexcept {
        ++fires_;
        CHECK(timer.modelled != model_.end());
        CHECK(timer.when <= now_);
        CHECK(timer.when == true_next());  // the earliest, and at the instant it was last armed for
        CHECK(!timer.armed());
        forget(timer);
        const std::uint32_t choice = draw() % 10;
        if (choice > 3) return;
        Timer& other = timers_[draw() % timers_.size()];
        if (choice == 0) return cancel(other);
        ++armed_by_fire_;
        arm(choice == 1 ? other : timer, some_instant());
    }

    std::mt19937 random_;
    detail::TimerQueue queue_;
    Model model_;
    std::vector<Timer> timers_;
    Instant now_{Duration(1'000'000'000'000)};
    std::size_t armed_by_fire_ = 0;
    std::size_t fires_ = 0;
};

}  // namespace

TEST_CASE("random arming, moving, cancelling and jumps in time agree with a multimap") {
    for (const std::size_t count : {3UL, 40UL, 3000UL}) {
        const auto seed = static_cast<std::uint32_t>(20261121 + count);
        CAPTURE(count);
        CAPTURE(seed);
        Both both(count, seed);
        for (int step = 0; step < 200'000; ++step) both.step();
        both.drain();
        CHECK(both.fires() > 1000);
    }
}

TEST_CASE("a timer that arms itself in the past each time it fires does not hold expire for ever") {
    struct Again : detail::TimerNode {
        detail::TimerQueue* queue = nullptr;
        int fired = 0;
    } again;
    detail::TimerQueue queue;
    again.queue = &queue;
    again.fire = [](detail::TimerNode& node) noexcept {
        auto& self = static_cast<Again&>(node);
        ++self.fired;
        self.queue->arm(self, at(1));
    };
    queue.arm(again, at(10));
    queue.expire(at(10));
    CHECK(again.fired > 0);
    CHECK(again.fired < 1000);
    CHECK(queue.next() == at(1));  // so that the worker does not sleep
    const int before = again.fired;
    queue.expire(at(10));
    CHECK(again.fired > before);
    queue.cancel(again);
    CHECK(queue.empty());
}

TEST_CASE("a timer that fires may cancel those that are due with it") {
    struct Pair : detail::TimerNode {
        detail::TimerQueue* queue = nullptr;
        Pair* other = nullptr;
        int fired = 0;
    } one, two;
    detail::TimerQueue queue;
    for (Pair* each : {&one, &two}) {
        each->queue = &queue;
        each->other = each == &one ? &two : &one;
        each->fire = [](detail::TimerNode& node) noexcept {
            auto& self = static_cast<Pair&>(node);
            ++self.fired;
            self.queue->cancel(*self.other);
        };
        queue.arm(*each, at(5));
    }
    queue.expire(at(6));
    CHECK(one.fired + two.fired == 1);
    CHECK(queue.empty());
}

TEST_CASE("the next instant of few timers is exact however far away, and that of many costs few wake-ups") {
    detail::TimerQueue queue;
    detail::TimerNode node;
    node.fire = [](detail::TimerNode&) noexcept {};
    for (const auto ahead : {1ns, Duration(1ms), Duration(30s), Duration(24h), Duration(24h * 365 * 200)}) {
        const Instant when = at(1'000'000) + ahead;
        queue.arm(node, when);
        CHECK(queue.next() == when);
        queue.expire(when - 1ns);
        CHECK(node.armed());
        CHECK(queue.next() == when);
    }
    queue.cancel(node);
    CHECK(queue.next() == Instant::max());

    detail::TimerQueue crowded;
    std::vector<detail::TimerNode> nodes(1000);
    const Instant start = at(1'000'000);
    crowded.expire(start);
    for (detail::TimerNode& each : nodes) {
        each.fire = [](detail::TimerNode&) noexcept {};
        crowded.arm(each, start + 30s);
    }
    int wakes = 0;
    for (; !crowded.empty(); ++wakes) crowded.expire(crowded.next());
    CHECK(wakes <= 8);
}

TEST_CASE("a timer at the end of time never fires") {
    detail::TimerQueue queue;
    Recorder timer;
    std::vector<int> order;
    timer.order = &order;
    queue.arm(timer, Instant::max());
    CHECK(queue.next() == Instant::max());
    queue.expire(Instant::max());
    CHECK(order.empty());
    CHECK(queue.size() == 1);
    queue.arm(timer, at(1));  // in the past by now
    CHECK(queue.next() <= at(1));
    queue.expire(Instant::max());
    CHECK(order.size() == 1);
    CHECK(queue.empty());
}
