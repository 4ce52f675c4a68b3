// SPDX-License-Identifier: BSL-1.0
// Forwards: what has been received is handed over to be sent, and its task goes on.
#include "tests/unit/support.hpp"

#include <array>
#include <atomic>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <vector>

using namespace support;

namespace {

// A chunk of one piece, as it came.
Task<Chunk> receive(Pair* pair, std::string_view text) {
    (co_await pair->far.send(text)).value();
    auto chunk = (co_await pair->near.recv()).value();
    REQUIRE(chunk.size() == text.size());
    co_return chunk;
}

Task<> note(bool* ran) {
    *ran = true;
    co_return;
}

Task<> forward_all(Link link) {
    while (auto chunk = co_await link.recv())
        if (!co_await link.forward(std::move(*chunk))) co_return;
    co_await link.close();  // dropping the Link would reset the connection, and what is on its way with it
}

Task<> collect(Link* link, std::string* all) {
    while (auto chunk = co_await link->recv()) *all += chunk->to_string();
}

std::string pattern(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t at = 0; at < size; ++at) text[at] = static_cast<char>(at * 2654435761U >> 11);
    return text;
}

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

TEST_CASE("a forward does not suspend its task; a second one waits for its turn" * not_misbehaving()) {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Chunk first = co_await receive(&pair, "first ");
        bool other_ran = false;
        Scope scope;
        scope.spawn(note, &other_ran);
        auto taken = co_await pair.near.forward(std::move(first));
        CHECK(*taken == 6);
        CHECK(!other_ran);
        CHECK((co_await recv_text(&pair.far, 6)) == "first ");
        co_await scope.join();

        Chunk second = co_await receive(&pair, "second ");
        Chunk third = co_await receive(&pair, "third");
        other_ran = false;
        Scope again;
        again.spawn(note, &other_ran);
        (co_await pair.near.forward(std::move(second))).value();
        CHECK(!other_ran);
        (co_await pair.near.forward(std::move(third))).value();
        CHECK(other_ran);
        CHECK((co_await recv_text(&pair.far, 12)) == "second third");
        co_await again.join();
    });
}

TEST_CASE("a forward of nothing, of bytes on the heap and of several pieces is a send") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        auto nothing = co_await pair.near.forward(Chunk());
        CHECK(*nothing == 0);
        const std::string text = pattern(100'000);
        Scope scope;
        std::string got;
        scope.spawn(collect, &pair.far, &got);
        (co_await pair.far.send(text)).value();
        for (std::size_t left = text.size(); left > 0;) {
            auto chunk = (co_await pair.near.recv()).value();
            left -= chunk.size();
            const std::size_t size = chunk.size();
            auto taken = co_await pair.near.forward(std::move(chunk));
            CHECK(*taken == size);
        }
        (co_await pair.near.shutdown_write()).value();
        co_await scope.join();
        CHECK(got == text);
    });
}

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

TEST_CASE("a forward behind a half close is an error at once" * not_misbehaving()) {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Chunk kept = co_await receive(&pair, "x");
        (co_await pair.near.shutdown_write()).value();
        const auto taken = co_await pair.near.forward(std::move(kept));
        CHECK(taken.error() == std::errc::broken_pipe);
    });
}

TEST_CASE("a peer that does not read is one forward ahead, and gets everything when it reads") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Scope scope;
        scope.spawn(forward_all, std::move(pair.near));
        const std::string text = pattern(24'000'000);
        std::string got;
        bool all_sent = false;
        scope.spawn(
            [](Link* link, const std::string* data, bool* sent) -> Task<> {
                (co_await link->send(*data)).value();
                *sent = true;
                (co_await link->shutdown_write()).value();
            },
            &pair.far, &text, &all_sent);
        co_await passes(200);
        CHECK(!all_sent);  // nobody reads what comes back
        co_await collect(&pair.far, &got);
        co_await scope.join();
        CHECK(got == text);
    });
}

TEST_CASE("a forward that cannot be sent is told by the next send, and by the half close") {
    for (const bool half_close : {false, true})
        in_runtime([half_close]() -> Task<> {
            auto pair = co_await connected();
            Chunk kept = co_await receive(&pair, "x");
            pair.far.abort();
            auto told = co_await pair.near.recv();  // the reset has come
            CHECK(!told);
            (co_await pair.near.forward(std::move(kept))).value();
            const bool sent =
                half_close ? bool(co_await pair.near.shutdown_write()) : bool(co_await pair.near.send("y"));
            CHECK(!sent);
            CHECK(!co_await pair.near.forward(Chunk()));
        });
}

TEST_CASE("a forward into a full socket does not wait for the network: its buffer comes back, an abort is at once" *
          not_simulated()) {
    for (const bool forwards : {true, false})
        in_runtime([forwards]() -> Task<> {
            std::array<int, 2> ends{};
            REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
            Link link = Link::adopt(ends[0]).value();
            plain::send(ends[1], "a");
            auto chunk = (co_await link.recv()).value();
            const std::string text(4096, 'x');
            while (::send(ends[0], text.data(), text.size(), MSG_DONTWAIT) > 0) {
            }
            const auto late = co_await link.send("b").within(5ms);  // so that the backend knows that there is no room
            CHECK(late.error() == Errc::timed_out);
            Scope scope;
            scope.spawn(
                [](Link* on, Chunk bytes, bool forward) -> Task<> {
                    if (forward)
                        (co_await on->forward(std::move(bytes))).value();
                    else
                        (void)co_await on->send(std::move(bytes));
                },
                &link, std::move(chunk), forwards);
            co_await passes(5);
            CHECK(metrics().buffers_lent == 0);
            link.abort();
            co_await passes(5);
            CHECK(metrics().links == 0);
            ::close(ends[1]);
            co_await scope.join();
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

TEST_CASE("a cancelled task forwards nothing") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Chunk kept = co_await receive(&pair, "x");
        std::error_code told;
        Scope scope;
        scope.spawn(
            [](Link* link, Chunk chunk, std::error_code* error) -> Task<> {
                (void)co_await sleep_for(1h);
                *error = (co_await link->forward(std::move(chunk))).error();
            },
            &pair.near, std::move(kept), &told);
        co_await passes(2);
        scope.cancel();
        co_await scope.join();
        CHECK(told == Errc::cancelled);
        CHECK((co_await pair.far.recv().within(10ms)).error() == Errc::timed_out);
    });
}

TEST_CASE("few receive buffers are enough for many that forward") {
    for (const unsigned buffers : {2U, 8U}) {
        RuntimeOptions options = one_worker();
        options.recv_buffers = buffers;
        options.recv_buffer_size = 1024;
        in_runtime_with(options, []() -> Task<> {
            std::vector<Pair> pairs;
            for (int made = 0; made < 60; ++made) pairs.push_back(co_await connected());
            Scope serving;
            Scope asking;
            int right = 0;
            for (Pair& pair : pairs) {
                serving.spawn(forward_all, std::move(pair.near));
                asking.spawn(
                    [](Link* link, int* equal) -> Task<> {
                        for (int round = 0; round < 30; ++round) {
                            const std::string question = std::to_string(round) + std::string(700, 'q');
                            (co_await link->send(question)).value();
                            if (co_await recv_text(link, question.size()) == question) ++*equal;
                        }
                        (co_await link->shutdown_write()).value();
                    },
                    &pair.far, &right);
            }
            co_await asking.join();
            co_await serving.join();
            CHECK(right == 60 * 30);
        });
    }
}
