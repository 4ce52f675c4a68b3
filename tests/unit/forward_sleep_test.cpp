// SPDX-License-Identifier: BSL-1.0
// Forwards of a worker that sleeps after them: on io_uring no completion tells it that they have gone.
#include "tests/unit/support.hpp"

#include <atomic>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <thread>

using namespace support;

namespace {

// A Link to a peer that is a plain socket.
Task<Link> visited(int* peer) {
    auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
    *peer = co_await plain::connect(listener.address());
    REQUIRE(*peer >= 0);
    co_return (co_await listener.accept()).value();
}

// A peer that is no part of the runtime, so that nothing of it wakes the worker: all that it reads until the end of the
// stream, and whether that came without five seconds of silence before it.
struct Outsider {
    std::string all;
    std::atomic<bool> ended{false};
    std::thread thread;
    explicit Outsider(int fd)
        : thread([this, fd] {
              pollfd look{fd, POLLIN, 0};
              char room[4096];
              while (!ended && ::poll(&look, 1, 5000) == 1) {
                  const ssize_t got = ::recv(fd, room, sizeof room, 0);
                  ended = got <= 0;
                  if (got > 0) all.append(room, static_cast<std::size_t>(got));
              }
              ::close(fd);
          }) {}
};

// A Link that has received the one byte of an outsider, who reads from then on.
struct Visit {
    int fd = -1;  // the outsider's
    Link link;
    Chunk chunk;
    std::optional<Outsider> peer;
};

Task<> receive_a_byte(Visit* visit) {
    visit->link = co_await visited(&visit->fd);
    plain::send(visit->fd, "a");
    visit->chunk = (co_await visit->link.recv()).value();
    visit->peer.emplace(visit->fd);
}

// Until it has read the end of the stream, or given up. The worker may run meanwhile.
Task<> seen_out(Visit* visit) {
    (void)co_await offload([](Outsider* peer) { peer->thread.join(); }, &*visit->peer);
}

// Runs fn() on a clock that stands still.
template <class Fn>
void in_still_time(Fn fn) {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(options, fn);
}

}  // namespace

// In still time: no timer wakes the worker either.
TEST_CASE("what follows a forward goes behind it: a send, a post, a half close" * not_simulated()) {
    in_still_time([]() -> Task<> {
        for (int round = 0; round < 20; ++round) {
            Visit visit;
            co_await receive_a_byte(&visit);
            Link& link = visit.link;
            Outbox outbox = link.outbox();
            (co_await link.forward(std::move(visit.chunk))).value();
            if (round % 2 == 0) (co_await link.send("b")).value();
            CHECK(outbox.post(Payload(std::string("c"))) == Posted::queued);
            if (round % 4 < 2) (co_await link.shutdown_write()).value();
            if (round % 3 == 0)
                co_await link.close();
            else
                CHECK((co_await link.close_gracefully(4s)));
            visit.peer->thread.join();
            CHECK(visit.peer->ended);
            CHECK(visit.peer->all == (round % 2 == 0 ? "abc" : "ac"));
        }
    });
}

TEST_CASE("a post alone behind a forward does not wait for the next event" * not_simulated()) {
    in_still_time([]() -> Task<> {
        Visit visit;
        co_await receive_a_byte(&visit);
        OutboxOptions newest;
        newest.slow_receiver = SlowReceiver::latest_only;  // is taken when nothing else is being sent
        Outbox outbox = visit.link.outbox(newest);
        (co_await visit.link.forward(std::move(visit.chunk))).value();
        CHECK(outbox.post(Payload(std::string("b"))) == Posted::queued);
        (void)co_await outbox.drained();
        (void)co_await visit.link.shutdown_write();
        co_await seen_out(&visit);
        CHECK(visit.peer->ended);
        CHECK(visit.peer->all == "ab");
    });
}

TEST_CASE("a graceful close behind a forward does not wait for the next event" * not_simulated()) {
    in_still_time([]() -> Task<> {
        Visit visit;
        co_await receive_a_byte(&visit);
        (co_await visit.link.forward(std::move(visit.chunk))).value();
        const bool all = co_await visit.link.close_gracefully(4s);
        CHECK(all);
        visit.peer->thread.join();
        CHECK(visit.peer->ended);
        CHECK(visit.peer->all == "a");
    });
}

TEST_CASE("an abort behind a forward does not wait for the next event" * not_simulated()) {
    in_still_time([]() -> Task<> {
        Visit visit;
        co_await receive_a_byte(&visit);
        plain::shutdown_write(visit.fd);
        const auto end = co_await visit.link.recv();  // nothing is armed any more whose end would be an event
        CHECK(end.error() == Errc::eof);
        (co_await visit.link.forward(std::move(visit.chunk))).value();
        visit.link.abort();
        co_await seen_out(&visit);
        CHECK(visit.peer->ended);
    });
}

TEST_CASE("a handler of serve may end after a forward: the peer gets it, then the end" * not_simulated()) {
    in_still_time([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Scope serving;
        serving.spawn(
            [](Listener* from) -> Task<> {
                co_await from->serve([](Link link) -> Task<> {
                    auto chunk = co_await link.recv();
                    if (chunk) (co_await link.forward(std::move(*chunk))).value();
                });
            },
            &listener);
        for (int round = 0; round < 10; ++round) {
            const int fd = co_await plain::connect(listener.address());
            REQUIRE(fd >= 0);
            plain::send(fd, "all of it");
            Outsider peer(fd);
            (void)co_await offload([](Outsider* from) { from->thread.join(); }, &peer);
            CHECK(peer.ended);
            CHECK(peer.all == "all of it");
        }
        serving.cancel();
        co_await serving.join();
    });
}

TEST_CASE("a forward renews the limit on being idle when it goes, not when its worker next wakes" * not_simulated()) {
    for (const bool limit_first : {true, false}) {
        ManualClock clock;
        RuntimeOptions options = one_worker();
        options.clock = &clock;
        in_runtime_with(
            options,
            [](ManualClock* time, bool first) -> Task<> {
                int fd = -1;
                Link link = co_await visited(&fd);
                if (first) link.close_when_idle(10s, IdleMeans::nothing_received_or_sent);
                plain::send(fd, "a");
                auto chunk = (co_await link.recv()).value();
                (co_await link.forward(std::move(chunk))).value();
                if (!first) link.close_when_idle(10s, IdleMeans::nothing_received_or_sent);
                std::atomic<bool> over{false};
                bool ended = false;
                const Runtime& runtime = Runtime::current();
                std::thread peer([&over, &ended, &runtime, fd, time] {
                    char answer = 0;
                    (void)!::recv(fd, &answer, 1, 0);
                    const Instant patience = std::chrono::steady_clock::now() + 5s;
                    while (runtime.metrics(0).buffers_lent > 0 && std::chrono::steady_clock::now() < patience)
                        std::this_thread::yield();  // the worker has not been told yet that it went
                    time->advance(10s);
                    pollfd look{fd, POLLIN, 0};
                    ended = ::poll(&look, 1, 5000) == 1;
                    ::close(fd);
                    over = true;
                });
                auto more = co_await link.recv();
                CHECK(more.error() == Errc::timed_out);
                while (!over) co_await yield();
                peer.join();
                CHECK(ended);
            },
            &clock, limit_first);
    }
}

TEST_CASE("a forward that has gone is no silence: the limit on being idle begins anew" * not_simulated()) {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            int fd = -1;
            Link link = co_await visited(&fd);
            plain::send(fd, "a");
            auto chunk = (co_await link.recv()).value();
            link.close_when_idle(10s, IdleMeans::nothing_received_or_sent);
            std::error_code end;
            Scope scope;
            scope.spawn([](Link* on, std::error_code* error) -> Task<> { *error = (co_await on->recv()).error(); },
                        &link, &end);
            co_await passes(3);
            time->advance(6s);
            co_await passes(3);
            (co_await link.forward(std::move(chunk))).value();
            co_await passes(3);
            time->advance(6s);
            co_await passes(3);
            CHECK(!end);
            time->advance(4s);
            co_await scope.join();
            CHECK(end == Errc::timed_out);
            ::close(fd);
        },
        &clock);
}
