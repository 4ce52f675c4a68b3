// SPDX-License-Identifier: BSL-1.0
// Faults of what goes on longer than it should: handles after their Runtime, tasks after an exception, refusals after
// their time, watches and queues beside a peer that takes nothing. Each named by its cause.
#include <chainring/heartbeat.hpp>

#include "tests/unit/support.hpp"

#include <atomic>
#include <stdexcept>
#include <vector>

using namespace support;

namespace {

RuntimeOptions workers(unsigned count) {
    RuntimeOptions options = one_worker();
    options.workers = count;
    return options;
}

// An argument whose copies may run out.
struct Copies {
    explicit Copies(int* more) noexcept : left(more) {}
    Copies(const Copies& other) : left(other.left) {
        if (--*left < 0) throw std::runtime_error("copied too often");
    }
    Copies(Copies&&) noexcept = default;
    Copies& operator=(const Copies&) = delete;
    int* left;
};

Task<> add_from(unsigned worker, LinkTable* table, Pair* pair) {
    co_await resume_on(worker);
    *pair = co_await connected();
    table->add(pair->near);
}

// Posts until the peer, which takes nothing, has stopped the Link, and the Outbox is full.
Task<> fill(const Outbox* outbox) {
    const Payload block(std::string(65536, 'x'));
    for (int idle = 0; idle < 20;) {
        const Posted posted = outbox->post(block);
        idle = posted == Posted::full ? idle + 1 : 0;
        co_await passes(2);
    }
}

Task<> flood(Link* link) {
    const std::string block(std::size_t{1} << 20, 'x');
    for (;;) {
        auto sent = co_await link->send(block);
        if (!sent) co_return;
    }
}

Task<> stay(Link link) {
    (co_await link.send("in")).value();
    for (;;) {
        auto chunk = co_await link.recv();
        if (!chunk) co_return;
    }
}

Task<> serve_stayers(Listener* listener) {
    co_await listener->serve(stay);
}

}  // namespace

TEST_CASE("an Outbox that outlives its Runtime does not ask the worker that is gone for its home") {
    LinkTable table;
    in_runtime_with(
        workers(3),
        [](LinkTable* to) -> Task<> {
            Pair pair;
            co_await add_from(2, to, &pair);
            co_await pair.near.close();
        },
        &table);
    std::atomic<int> visited{0};
    in_runtime(
        [](LinkTable* in, std::atomic<int>* count) -> Task<> {
            co_await in->for_each_on_home(
                [](LinkId, const Outbox& outbox, std::atomic<int>* seen) {
                    if (outbox.post(Payload("late")) == Posted::closed) ++*seen;
                },
                count);
        },
        &table, &visited);
    CHECK(visited == 1);
}

TEST_CASE("an exception between two spawns of for_each_on_home leaves no scope without join") {
    in_runtime_with(workers(2), []() -> Task<> {
        LinkTable table;
        Pair first;
        Pair second;
        co_await add_from(0, &table, &first);
        co_await add_from(1, &table, &second);
        int left = 2;  // its parameter, and the first worker's
        bool thrown = false;
        try {
            co_await table.for_each_on_home([](LinkId, const Outbox&, const Copies&) {}, Copies(&left));
            left = 1;
            co_await table.for_each_on_home([](LinkId, const Outbox&, const Copies&) {}, Copies(&left));
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        CHECK(thrown);
    });
}

TEST_CASE("an exception between two spawns of serve_all leaves no scope without join") {
    in_runtime([]() -> Task<> {
        std::vector<Listener> listeners;
        for (int listener = 0; listener < 2; ++listener)
            listeners.push_back((co_await Listener::bind("127.0.0.1:0")).value());
        int left = 1;
        bool thrown = false;
        try {
            co_await Listener::serve_all(
                listeners, [](Link, Copies) -> Task<> { co_return; }, Copies(&left));
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        CHECK(thrown);
    });
}

TEST_CASE("a Heartbeat through an Outbox that makes senders wait finds out that the peer takes nothing any more") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            auto pair = co_await connected();
            OutboxOptions waits;
            waits.high_water = 65536;
            waits.slow_receiver = SlowReceiver::wait;
            const Outbox outbox = pair.near.outbox(waits);
            co_await fill(&outbox);
            HeartbeatOptions beats;
            beats.shortest = beats.longest = 1s;
            Heartbeat heart(beats);
            std::error_code end;
            Scope scope;
            scope.spawn(
                [](Heartbeat* of, Link* link, Outbox through, std::error_code* why) -> Task<> {
                    *why = co_await of->watch(*link, std::move(through), Payload("ping"));
                },
                &heart, &pair.near, outbox, &end);
            for (int second = 0; second < 10; ++second) {
                co_await passes(5);
                time->advance(1s);
            }
            co_await passes(5);
            CHECK(end == Errc::timed_out);
            CHECK(outbox.post(Payload("late")) == Posted::closed);
            scope.cancel();
            co_await scope.join();
        },
        &clock);
}

TEST_CASE("a refused client that floods is closed when its three seconds are over") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            ListenOptions one;
            one.max_connections = 1;
            auto listener = (co_await Listener::bind("127.0.0.1:0", one)).value();
            Scope serving;
            serving.spawn(serve_stayers, &listener);
            auto inside = (co_await Link::connect(listener.address())).value();
            CHECK(co_await recv_text(&inside, 2) == "in");
            auto refused = (co_await Link::connect(listener.address())).value();
            auto end = co_await refused.recv();
            CHECK(end.error() == Errc::eof);
            Scope flooding;
            flooding.spawn(flood, &refused);
            co_await passes(20);
            CHECK(metrics().links == 4);
            time->advance(3001ms);
            co_await passes(2000);
            CHECK(metrics().links < 4);
            flooding.cancel();
            co_await flooding.join();
            refused = Link();
            inside = Link();
            serving.cancel();
            co_await serving.join();
        },
        &clock);
}

TEST_CASE("empty messages to a peer that takes nothing do not pile up below the high-water mark") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        OutboxOptions waits;
        waits.high_water = std::size_t{16} << 20;
        waits.slow_receiver = SlowReceiver::wait;
        const Outbox outbox = pair.near.outbox(waits);
        CHECK(outbox.post(Payload(std::string(std::size_t{15} << 20, 'x'))) == Posted::queued);
        co_await passes(20);
        const Payload nothing{std::string()};
        for (int post = 0; post < 1000; ++post) CHECK(outbox.post(nothing) == Posted::queued);
        co_await passes(2);
        CHECK(nothing.shared_by() <= 2);
    });
}
