// SPDX-License-Identifier: BSL-1.0
// Faults of tasks that run elsewhere, each named by its cause.
#include "runtime/src/worker.hpp"
#include "tests/unit/support.hpp"

#include <atomic>
#include <memory>
#include <vector>

using namespace support;

namespace {

RuntimeOptions three() {
    RuntimeOptions options = one_worker();
    options.workers = 3;
    options.steal = Steal::eager;
    return options;
}

void burn(Duration duration) {
    const auto until = std::chrono::steady_clock::now() + duration;
    while (std::chrono::steady_clock::now() < until) {
    }
}

Task<> connect_and_go_back(Address to) {
    for (int round = 0; round < 200; ++round) {
        {
            auto link = co_await Link::connect(to);
            if (link) link->abort();
        }
        co_await resume_on(0);
        roam();
    }
}

Task<> tick_until(std::atomic<bool>* done) {
    while (!*done) (void)co_await sleep_for(2us);
}

Task<> accept_all(Listener* listener) {
    for (;;) {
        auto link = co_await listener->accept();
        if (!link) co_return;
    }
}

// A wait that ends when the worker of its task is told to.
struct Parking : detail::Waiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        detail::suspend(*this, handle.promise(), handle);
        parked = true;
    }
    void await_resume() const noexcept {}
    bool parked = false;
};

Task<> park_in(Parking* parking) {
    co_await *parking;
}

// Between the running of tasks, as where completions are delivered: wakes the first as one does, then the others.
struct WakeAll : detail::InboxNode {
    std::vector<Parking>* waits = nullptr;
    bool noted = false;
    bool forgotten = false;
    bool over = false;

    static void in_order(detail::InboxNode& node) noexcept {
        auto& self = static_cast<WakeAll&>(node);
        detail::Worker& here = *detail::Worker::current();
        detail::Waiter& first = self.waits->front();
        here.wake(first);
        self.noted = here.last_woken() == &first;
        for (std::size_t at = 1; at < self.waits->size(); ++at) detail::resume((*self.waits)[at]);
        self.forgotten = here.last_woken() == nullptr;
        self.over = true;
    }
};

}  // namespace

TEST_CASE("a connect whose task is stolen at its completion is not looked at again by the poll") {
    in_runtime_with(three(), []() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        std::atomic<bool> done{false};
        Scope accepting;
        accepting.spawn(accept_all, &listener);
        Scope tickers;
        for (unsigned worker = 1; worker < 3; ++worker) tickers.spawn_on(worker, tick_until, &done);
        Scope connecting;
        for (int task = 0; task < 8; ++task) connecting.spawn(connect_and_go_back, listener.address());
        co_await connecting.join();
        done = true;
        co_await tickers.join();
        accepting.cancel();
        co_await accepting.join();
    });
}

TEST_CASE("a receive that comes home while the Link's old limit falls due has its own limit") {
    in_runtime_with(three(), []() -> Task<> {
        auto pair = co_await connected();
        std::atomic<int> stage{0};
        Scope scope;
        scope.spawn_on(
            1,
            [](Link* link, std::atomic<int>* at) -> Task<> {
                auto first = co_await link->recv().within(50ms);
                CHECK(first.has_value());
                *at = 1;
                while (*at < 2) co_await yield();
                auto second = co_await link->recv().within(10s);
                CHECK(second.has_value());
            },
            &pair.near, &stage);
        (void)co_await sleep_for(5ms);
        (void)co_await pair.far.send("x");
        while (stage < 1) co_await yield();
        stage = 2;
        burn(80ms);  // home is in one long task, while the receive is on its way and the old limit falls due
        (void)co_await sleep_for(20ms);
        (void)co_await pair.far.send("y");
        co_await scope.join();
    });
}

TEST_CASE("tasks that were spawned in the root scope before the run end without ending it") {
    for (int round = 0; round < 50; ++round) {
        std::atomic<int> ran{0};
        bool main_ran = false;
        Runtime runtime(three());
        runtime.root().spawn(
            [](std::atomic<int>* count) -> Task<> {
                ++*count;
                co_return;
            },
            &ran);
        runtime.run(
            [](bool* flag) -> Task<> {
                *flag = true;
                co_return;
            },
            &main_ran);
        CHECK(ran == 1);
        CHECK(main_ran);
    }
}

TEST_CASE("a Listener that goes while an accept is on its way home ends it with closed") {
    in_runtime_with(three(), []() -> Task<> {
        for (int round = 0; round < 20; ++round) {
            auto listener = std::make_unique<Listener>((co_await Listener::bind("127.0.0.1:0")).value());
            std::atomic<int> stage{0};
            Scope scope;
            scope.spawn_on(
                1,
                [](Listener* from, std::atomic<int>* at) -> Task<> {
                    auto accept = from->accept();
                    *at = 1;
                    auto link = co_await accept;
                    CHECK(link.error() == Errc::closed);
                },
                listener.get(), &stage);
            co_await plain::wait_in_place([&] { return stage == 1; });
            if (!plain::machine()) burn(1ms);
            listener.reset();
            co_await scope.join();
        }
    });
}

TEST_CASE("asking a Link for its peer while it closes at home gives the address or closed") {
    in_runtime_with(three(), []() -> Task<> {
        for (int round = 0; round < 200; ++round) {
            auto pair = co_await connected();
            Scope scope;
            scope.spawn_on(
                1,
                [](Link* link) -> Task<> {
                    for (int ask = 0; ask < 50; ++ask) {
                        const auto peer = link->peer();
                        if (!peer) CHECK((peer.error() == Errc::closed || peer.error() == std::errc::not_connected));
                    }
                    co_return;
                },
                &pair.near);
            co_await yield();
            pair.near.abort();
            co_await scope.join();
        }
    });
}

// Fewer than the run queue has room for, so that it never overflows; but in some rounds it looks for room in between,
// and shows what it has.
TEST_CASE("who was woken last is forgotten when other wakes show it to thieves" * not_simulated()) {
    RuntimeOptions options = three();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        stay_here();
        std::atomic<bool> thief_is_busy{false};
        std::atomic<bool> done{false};
        Scope busy;
        busy.spawn_on(
            1,
            [](std::atomic<bool>* begun, std::atomic<bool>* end) -> Task<> {
                *begun = true;
                co_await plain::wait_in_place([end] { return end->load(); });
            },
            &thief_is_busy, &done);
        co_await plain::wait_in_place([&] { return thief_is_busy.load(); });
        unsigned noted = 0;
        unsigned forgotten = 0;
        for (int round = 0; round < 6; ++round) {
            std::vector<Parking> waits(200);
            Scope scope;
            for (Parking& wait : waits) scope.spawn(park_in, &wait);
            for (Parking& wait : waits)
                while (!wait.parked) co_await yield();
            WakeAll wakes;
            wakes.run = WakeAll::in_order;
            wakes.waits = &waits;
            detail::Worker::current()->post(wakes);
            while (!wakes.over) co_await yield();
            co_await scope.join();
            noted += wakes.noted;
            forgotten += wakes.forgotten;
        }
        done = true;
        co_await busy.join();
        CHECK(noted > 0);
        CHECK(forgotten > 0);
    });
}

// A worker that is about to park, while it is not to be woken, may miss some.
TEST_CASE("what a task makes runnable is there for thieves while it still runs" * not_simulated()) {
    RuntimeOptions options = three();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        stay_here();
        std::atomic<unsigned> ran{0};
        Scope scope;
        for (int child = 0; child < 100 && ran == 0; ++child) {
            scope.spawn(
                [](std::atomic<unsigned>* count) -> Task<> {
                    ++*count;
                    co_return;
                },
                &ran);
            const auto until = std::chrono::steady_clock::now() + 50ms;
            while (ran == 0 && std::chrono::steady_clock::now() < until) {
            }
        }
        CHECK(ran > 0);
        co_await scope.join();
    });
}
