// SPDX-License-Identifier: BSL-1.0
// Faults of scopes, shields, intervals and reports, each named by its cause.
#include "tests/unit/support.hpp"

#include <memory>
#include <optional>
#include <sstream>

using namespace support;

namespace {

Task<> nothing() {
    co_return;
}
Task<> join_of_nothing() {
    Scope scope;
    scope.spawn(nothing);
    co_await yield();
    co_await scope.join();  // its children have ended: it does not suspend
}
Task<> open_in_a_shield(std::optional<Scope>* scope, bool* whole) {
    scope->emplace();
    (*scope)->spawn([](bool* slept) -> Task<> { *slept = co_await sleep_for(1h); }, whole);
    co_return;
}

// Awaits the operation under a token that is stopped while it waits.
template <class Make>
Task<std::error_code> stopped(Make make) {
    StopSource source;
    Scope scope;
    scope.spawn(
        [](StopSource* stop) -> Task<> {
            co_await passes(3);
            stop->request_stop();
        },
        &source);
    auto result = co_await make(source.token());
    co_await scope.join();
    co_return result ? std::error_code() : result.error();
}

}  // namespace

TEST_CASE("a report after a join that did not suspend reads no frame that is gone") {
    in_runtime([]() -> Task<> {
        for (int round = 0; round < 10; ++round) {
            co_await join_of_nothing();
            std::ostringstream out;
            Runtime::current().dump_tasks(out);
            CHECK(out.str().find("main on worker 0") != std::string::npos);
        }
    });
}

TEST_CASE("a tick that loses in when_any, or is cut short, is not consumed") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            Interval beat(50ms);
            const Instant due = beat.due();
            for (int message = 0; message < 20; ++message) {
                auto first = co_await when_any(beat.tick(), yield());
                CHECK(first.index() == 1);
            }
            CHECK(beat.due() == due);
            time->advance(50ms);
            const bool ticked = co_await beat.tick();
            CHECK(ticked);
            CHECK(beat.due() == due + 50ms);
            const Interval far(Duration::max());
            CHECK(far.due() == Instant::max());
        },
        &clock);
}

TEST_CASE("a scope that was made in a shield and outlives it is cancelled with its owner") {
    in_runtime([]() -> Task<> {
        bool after = true;
        bool during = true;
        Scope scope;
        scope.spawn(
            [](bool* whole) -> Task<> {
                std::optional<Scope> made;
                co_await shielded(open_in_a_shield(&made, whole));
                co_await made->join();
            },
            &after);
        scope.spawn(
            [](bool* whole) -> Task<> {
                std::optional<Scope> made;
                co_await shielded([](std::optional<Scope>* inner, bool* slept) -> Task<> {
                    co_await open_in_a_shield(inner, slept);
                    co_await passes(10);  // the cancel comes meanwhile
                }(&made, whole));
                co_await made->join();
            },
            &during);
        co_await passes(4);
        scope.cancel();
        co_await scope.join();
        CHECK(!after);
        CHECK(!during);
    });
}

TEST_CASE("every operation takes a stop token") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Link* link = &pair.near;
        std::byte bytes[8];
        Mutex mutex;
        auto held = co_await mutex.lock();
        Semaphore permits(0);
        Event event;
        Latch latch(1);
        Channel<int> empty(1);
        Channel<int> full(1);
        full.try_send(1);
        const auto ends = [](std::error_code error) { CHECK(error == Errc::cancelled); };
        ends(co_await stopped(
            [&](StopToken token) -> Task<Result<Chunk>> { co_return co_await link->recv().stop_on(token); }));
        ends(co_await stopped(
            [&](StopToken token) -> Task<Result<void>> { co_return co_await link->recv_exact(bytes).stop_on(token); }));
        ends(co_await stopped([&](StopToken token) -> Task<Result<std::string>> {
            co_return co_await link->recv_until("x", 9).stop_on(token);
        }));
        ends(co_await stopped(
            [&](StopToken token) -> Task<Result<Link>> { co_return co_await listener.accept().stop_on(token); }));
        ends(co_await stopped([&](StopToken token) -> Task<Result<void>> {
            auto guard = co_await mutex.lock().within(1h).stop_on(token);
            if (!guard) co_return guard.error();
            co_return Result<void>();
        }));
        ends(co_await stopped(
            [&](StopToken token) -> Task<Result<void>> { co_return co_await permits.acquire().stop_on(token); }));
        ends(co_await stopped(
            [&](StopToken token) -> Task<Result<void>> { co_return co_await event.wait().stop_on(token); }));
        ends(co_await stopped(
            [&](StopToken token) -> Task<Result<void>> { co_return co_await latch.wait().stop_on(token); }));
        ends(co_await stopped(
            [&](StopToken token) -> Task<Result<int>> { co_return co_await empty.recv().stop_on(token); }));
        ends(co_await stopped(
            [&](StopToken token) -> Task<Result<void>> { co_return co_await full.send(2).stop_on(token); }));
        const std::string flood(8 << 20, 'f');
        ends(co_await stopped([&](StopToken token) -> Task<Result<std::size_t>> {
            co_return co_await link->send(flood).stop_on(token);
        }));
        Interval beat(1h);
        StopSource source;
        source.request_stop();
        const bool ticked = co_await beat.tick().stop_on(source.token());
        CHECK(!ticked);
        latch.count_down();
    });
}

TEST_CASE("a close that is over at once is not touched by its beginning any more") {
    RuntimeOptions options = one_worker();
    options.workers = 3;
    options.steal = Steal::eager;
    in_runtime_with(options, []() -> Task<> {
        const int before = descriptors();
        for (int round = 0; round < 300; ++round) {
            auto pair = co_await connected();
            Scope scope;
            for (Link* link : {&pair.near, &pair.far})
                scope.spawn([](Link* closing) -> Task<> { co_await closing->close(); }, link);
            if (round % 2) scope.cancel();
            co_await scope.join();
        }
        // The last Listener's socket goes with the terminal completion of its accept.
        for (int wait = 0; wait < 1000 && descriptors() != before; ++wait) co_await passes(2);
        CHECK(descriptors() == before);
    });
}
