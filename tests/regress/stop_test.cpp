// SPDX-License-Identifier: BSL-1.0
// Runtimes that did not end, or ended too early.
#include "tests/unit/support.hpp"

#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace support;

namespace {

// Posts more than the peer will take, then ends, at once or when it is cancelled.
struct Handlers {
    bool wait_for_cancel = false;
    std::atomic<int> have_posted{0};
};

Task<> leave_posts_behind(Link link, Handlers* handlers) {
    const Outbox outbox = link.outbox(std::size_t{1} << 30);
    outbox.post(Payload(std::string(64 << 20, 'x')));
    bool whole = co_await sleep_for(10ms);
    ++handlers->have_posted;
    if (handlers->wait_for_cancel) whole = co_await sleep_for(1h);
    CHECK(whole != handlers->wait_for_cancel);
}

Task<> serve_them(Listener* listener, Handlers* handlers) {
    co_await listener->serve(leave_posts_behind, handlers);
}

Task<> stop_with_a_stuck_peer(bool wait_for_cancel) {
    auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
    const Address& address = listener.address();
    std::array<int, 2> peers{};
    for (int& peer : peers) {  // one for each worker
        peer = co_await plain::connect(address);
        REQUIRE(peer >= 0);
    }
    Handlers handlers;
    handlers.wait_for_cancel = wait_for_cancel;
    Scope scope;
    scope.spawn(serve_them, &listener, &handlers);
    while (handlers.have_posted < 2) co_await sleep_for(1ms);
    Runtime::current().request_stop();
    co_await scope.join();
    // The peers stay open, and unread, until the runtime has ended.
}

RuntimeOptions short_grace(unsigned workers) {
    RuntimeOptions options = one_worker();
    options.workers = workers;
    options.stop_grace = 100ms;
    return options;
}

}  // namespace

TEST_CASE("a Link that begins to close after the cancel is ended all the same") {
    const Instant start = std::chrono::steady_clock::now();
    in_runtime_with(short_grace(1), stop_with_a_stuck_peer, true);
    CHECK(std::chrono::steady_clock::now() - start < 4s);
}

TEST_CASE("worker 0, which keeps the grace timer, leaves last") {
    const Instant start = std::chrono::steady_clock::now();
    in_runtime_with(short_grace(2), stop_with_a_stuck_peer, false);
    CHECK(std::chrono::steady_clock::now() - start < 4s);
}

TEST_CASE("a listener that is made while the runtime drains accepts what is there, then says shutting_down") {
    in_runtime([]() -> Task<> {
        Runtime::current().request_stop();
        co_await passes(3);
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        auto accepted = co_await listener.accept().within(3s);
        CHECK(accepted.error() == Errc::shutting_down);
    });
}

TEST_CASE("a request that had arrived before the drain is served by a handler that had not asked for it yet") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        auto client = (co_await Link::connect(listener.address())).value();
        (co_await client.send("first")).value();
        auto server = (co_await listener.accept()).value();
        CHECK((co_await server.recv()).value().to_string() == "first");  // reading is armed
        (co_await client.send("second")).value();
        Runtime::current().request_stop();
        co_await passes(3);
        auto second = co_await server.recv();
        REQUIRE(second);
        CHECK(second->to_string() == "second");
        auto third = co_await server.recv();
        CHECK(third.error() == Errc::shutting_down);
    });
}

TEST_CASE("a timer that is due when the worker parks fires, also on a clock that stands still") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(options, []() -> Task<> {
        CHECK(co_await sleep_for(0s));
        CHECK(co_await sleep_until(Instant::min()));
        Event event;
        auto waited = co_await event.wait().within(0s);
        CHECK(waited.error() == Errc::timed_out);
    });
    in_runtime([]() -> Task<> { CHECK(co_await sleep_until(Instant::min())); });
}

TEST_CASE("a spin ends at the next timer, and does not run on a clock that stands still") {
    RuntimeOptions options = one_worker();
    options.spin = 2s;
    in_runtime_with(options, []() -> Task<> {
        const Instant start = now();
        CHECK(co_await sleep_for(1ms));
        CHECK(now() - start < 1s);
    });
    ManualClock clock;
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            Scope scope;
            scope.spawn(
                [](ManualClock* moved) -> Task<> {
                    co_await passes(2);
                    moved->advance(10s);
                },
                time);
            CHECK(co_await sleep_for(5s));
            co_await scope.join();
        },
        &clock);
}

TEST_CASE("a Chunk that is dropped after run and before the Runtime's end is no fault") {
    Chunk kept;
    {
        Runtime runtime(one_worker());
        runtime.run(
            [](Chunk* keep) -> Task<> {
                auto pair = co_await connected();
                (co_await pair.near.send("kept")).value();
                *keep = (co_await pair.far.recv()).value();
            },
            &kept);
        CHECK(kept.to_string() == "kept");
        kept = Chunk();
    }
}

TEST_CASE("a Runtime that runs inside another's task leaves the outer one as it was") {
    in_runtime([]() -> Task<> {
        Runtime inner(one_worker());
        inner.run([]() -> Task<> { CHECK(co_await sleep_for(1ms)); });
        CHECK(Runtime::current_worker() == 0);
        CHECK(co_await sleep_for(1ms));
    });
}

TEST_CASE("an Event that a foreign thread sets may be the end of the runtime" * not_simulated()) {
    for (int round = 0; round < 300; ++round) {
        Event event;
        std::thread setter;
        {
            Runtime runtime(one_worker());
            runtime.run(
                [](Event* gate, std::thread* thread) -> Task<> {
                    *thread = std::thread([gate] { gate->set(); });
                    (co_await gate->wait()).value();
                },
                &event, &setter);
        }
        setter.join();
    }
}
