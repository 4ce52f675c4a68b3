// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <unistd.h>

using namespace support;

namespace {

Task<> relay_between(Link* first, Link* second, RelayOutcome* outcome) {
    *outcome = co_await relay(*first, *second);
}

Task<> send_all(Link* link, std::size_t bytes) {
    const std::string block(100'000, 'r');
    for (std::size_t sent = 0; sent < bytes; sent += block.size()) (co_await link->send(block)).value();
    (co_await link->shutdown_write()).value();
}

Task<> count_all(Link* link, std::size_t* bytes) {
    while (auto chunk = co_await link->recv()) *bytes += chunk->size();
}

}  // namespace

TEST_CASE("a relay passes both directions on, and each end of stream") {
    in_runtime([]() -> Task<> {
        auto client = co_await connected();
        auto server = co_await connected();
        RelayOutcome outcome;
        std::size_t at_server = 0;
        std::size_t at_client = 0;
        Scope scope;
        scope.spawn(relay_between, &client.far, &server.near, &outcome);
        scope.spawn(send_all, &client.near, std::size_t{10'000'000});
        scope.spawn(count_all, &server.far, &at_server);
        while (at_server < 10'000'000) co_await sleep_for(100us);
        // The client's direction has ended; the answer still comes through.
        scope.spawn(count_all, &client.near, &at_client);
        scope.spawn(send_all, &server.far, std::size_t{20'000'000});
        co_await scope.join();
        CHECK(at_client == 20'000'000);
        CHECK(outcome.forward == 10'000'000);
        CHECK(outcome.backward == 20'000'000);
        CHECK(!outcome.error);
    });
}

TEST_CASE("an error in one direction ends both") {
    in_runtime([]() -> Task<> {
        auto client = co_await connected();
        auto server = co_await connected();
        RelayOutcome outcome;
        Scope scope;
        scope.spawn(relay_between, &client.far, &server.near, &outcome);
        (co_await client.near.send("hello")).value();
        (co_await server.far.recv()).value();
        server.far.abort();
        co_await scope.join();
        CHECK(outcome.error);
        auto gone = co_await client.near.recv();
        CHECK(!gone);
    });
}

TEST_CASE("who has ended its direction and is gone ends the relay, though the other side sends no more") {
    in_runtime([]() -> Task<> {
        const Address name = Address::parse("unix:@chainring-relay-" + std::to_string(::getpid())).value();
        auto listener = (co_await Listener::bind(name)).value();
        auto client = co_await connected();
        Pair server;
        server.near = (co_await Link::connect(name)).value();
        server.far = (co_await listener.accept()).value();
        RelayOutcome outcome;
        Scope scope;
        scope.spawn(relay_between, &client.far, &server.near, &outcome);
        co_await server.far.close();
        const auto end = co_await client.near.recv();
        CHECK(end.error() == Errc::eof);
        (co_await client.near.send("nobody reads this")).value();  // the only one: EPIPE is told once
        co_await scope.join().within(5s);
        CHECK_FALSE(scope.timed_out());
        CHECK(outcome.error);
    });
}

TEST_CASE("who has ended its direction and is reset ends the relay, whatever is still on its way there") {
    in_runtime([]() -> Task<> {
        auto client = co_await connected();
        auto server = co_await connected();
        RelayOutcome outcome;
        Scope relaying;
        relaying.spawn(relay_between, &client.far, &server.near, &outcome);
        // More than the sockets hold: the last of it waits to be sent when the server's direction ends.
        Scope sending;
        sending.spawn([](Link* to) -> Task<> { (void)co_await to->send(std::string(64 << 20, 'r')).within(300ms); },
                      &client.near);
        co_await sending.join();
        (co_await server.far.shutdown_write()).value();
        co_await passes(20);
        server.far.abort();
        co_await relaying.join().within(5s);
        CHECK_FALSE(relaying.timed_out());
        CHECK(outcome.error);
    });
}

TEST_CASE("a cancelled relay ends") {
    in_runtime([]() -> Task<> {
        auto client = co_await connected();
        auto server = co_await connected();
        RelayOutcome outcome;
        Scope scope;
        scope.spawn(relay_between, &client.far, &server.near, &outcome);
        co_await yield();
        scope.cancel();
        co_await scope.join();
        CHECK(outcome.error == Errc::cancelled);
    });
}

TEST_CASE("a limited direction passes on what its bucket lets through, and the other what it likes" *
          not_misbehaving()) {
    in_runtime([]() -> Task<> {
        auto client = co_await connected();
        auto server = co_await connected();
        TokenBucket slow(4'000'000, 50'000);
        RelayOutcome outcome;
        std::size_t at_server = 0;
        std::size_t at_client = 0;
        const Instant began = now();
        Scope scope;
        scope.spawn(
            [](Link* first, Link* second, TokenBucket* limit, RelayOutcome* result) -> Task<> {
                *result = co_await relay(*first, *second, RelayLimits{limit, nullptr});
            },
            &client.far, &server.near, &slow, &outcome);
        scope.spawn(send_all, &client.near, std::size_t{1'000'000});
        scope.spawn(send_all, &server.far, std::size_t{10'000'000});
        scope.spawn(count_all, &server.far, &at_server);
        scope.spawn(count_all, &client.near, &at_client);
        co_await scope.join();
        // 950,000 bytes at 4 MB/s; of these the last chunk, at most 128 KiB, goes before it is paid for.
        CHECK(now() - began >= 200ms);
        CHECK(at_server == 1'000'000);
        CHECK(at_client == 10'000'000);
        CHECK(!outcome.error);
    });
}

TEST_CASE("a limited direction that waits for its bucket ends with the other one's error") {
    in_runtime([]() -> Task<> {
        auto client = co_await connected();
        auto server = co_await connected();
        TokenBucket hardly_any(1, 1);
        RelayOutcome outcome;
        Scope scope;
        scope.spawn(
            [](Link* first, Link* second, TokenBucket* limit, RelayOutcome* result) -> Task<> {
                *result = co_await relay(*first, *second, RelayLimits{limit, nullptr});
            },
            &client.far, &server.near, &hardly_any, &outcome);
        (co_await client.near.send("a hundred seconds' worth of bytes, and then some")).value();
        (co_await server.far.recv()).value();
        server.far.abort();
        co_await scope.join();
        CHECK(outcome.error);
        CHECK(outcome.error != Errc::cancelled);
    });
}
