// SPDX-License-Identifier: BSL-1.0
#include "net/src/link_state.hpp"
#include "tests/unit/support.hpp"

#include <fstream>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

using namespace support;

namespace {

Task<> busy(int rounds) {
    for (int round = 0; round < rounds; ++round) co_await yield();
}

Task<> post_nothing_after_eof(Link link) {
    while (auto chunk = co_await link.recv()) chunk->consume(chunk->size());
    const Outbox outbox = link.outbox();
    outbox.post(Payload());  // done within the flush itself, without the kernel
}

Task<> note_read(Link* link, std::error_code* end) {
    *end = (co_await link->recv()).error();
}
Task<> note_accept(Listener* listener, std::error_code* end) {
    *end = (co_await listener->accept()).error();
}
Task<> send_all(Link* link, const std::string* data, bool* whole) {
    *whole = static_cast<bool>(co_await link->send(*data));
}
Task<> close_link(Link* link) {
    co_await link->close();
}

}  // namespace

TEST_CASE("a Link that its own flush ends is freed once") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Scope serving;
        serving.spawn([](Listener* from) -> Task<> { co_await from->serve(post_nothing_after_eof); }, &listener);
        for (int round = 0; round < 50; ++round) {
            auto client = (co_await Link::connect(listener.address())).value();
            (co_await client.shutdown_write()).value();
            auto end = co_await client.recv().within(5s);
            CHECK(end.error() == Errc::eof);
        }
        serving.cancel();
        co_await serving.join();
    });
}

TEST_CASE("a receive that ends without a buffer while its Link ends does not queue the Link for one") {
    RuntimeOptions options = one_worker();
    options.recv_buffers = 1;
    in_runtime_with(options, []() -> Task<> {
        auto holder = co_await connected();
        (co_await holder.near.send("held")).value();
        auto held = (co_await holder.far.recv()).value();
        for (int round = 0; round < 20; ++round) {
            auto pair = co_await connected();
            std::error_code end;
            Scope scope;
            scope.spawn(note_read, &pair.far, &end);
            co_await yield();
            pair.far.abort();
            co_await scope.join();
            CHECK(end == Errc::closed);
        }
        held = Chunk();
        co_await passes(3);
    });
}

TEST_CASE("a starved Link is fed by a buffer that comes back on its own worker") {
    RuntimeOptions options = one_worker();
    options.recv_buffers = 1;
    in_runtime_with(options, []() -> Task<> {
        auto holder = co_await connected();
        auto hungry = co_await connected();
        (co_await holder.near.send("held")).value();
        auto held = (co_await holder.far.recv()).value();
        std::string got;
        Scope scope;
        scope.spawn(
            [](Link* link, std::string* text) -> Task<> {
                auto chunk = co_await link->recv().within(5s);
                if (chunk) *text = chunk->to_string();
            },
            &hungry.far, &got);
        co_await sleep_for(2ms);
        (co_await hungry.near.send("food")).value();
        co_await sleep_for(2ms);
        held = Chunk();
        co_await scope.join();
        CHECK(got == "food");
    });
}

TEST_CASE("a slot outlives the task that waits on it, however long that takes to resume") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        auto pair = co_await connected();
        std::error_code accepted;
        std::error_code received;
        Scope scope;
        scope.spawn(note_accept, &listener, &accepted);
        scope.spawn(note_read, &pair.far, &received);
        co_await sleep_for(1ms);
        for (int task = 0; task < 300; ++task) scope.spawn(busy, 20);  // more than one pass resumes
        co_await yield();
        listener = Listener();
        pair.far = Link();
        co_await scope.join();
        CHECK(accepted == Errc::closed);
        CHECK(received == Errc::closed);
    });
}

TEST_CASE("a chunk behind a full gather does not stay lent while the peer does not read") {
    in_runtime([]() -> Task<> {
        auto source = co_await connected();
        auto stuck = co_await connected();
        (co_await source.near.send("lent")).value();
        auto chunk = (co_await source.far.recv()).value();
        const std::string block(1 << 20, 'b');
        std::array<bool, 64> whole{};
        bool last = false;
        Scope scope;
        for (bool& each : whole) scope.spawn(send_all, &stuck.near, &block, &each);
        scope.spawn([](Link* link, Chunk data,
                       bool* sent) -> Task<> { *sent = static_cast<bool>(co_await link->send(std::move(data))); },
                    &stuck.near, std::move(chunk), &last);
        co_await sleep_for(5ms);
        CHECK(metrics().buffers_lent == 0);
        stuck.near.abort();
        co_await scope.join();
        CHECK(!last);
    });
}

TEST_CASE("a file that is no socket is left alone by bind" * not_simulated()) {
    const std::string path = "/tmp/chainring-precious-" + std::to_string(getpid());
    std::ofstream(path) << "data";
    in_runtime(
        [](const std::string* file) -> Task<> {
            auto listener = co_await Listener::bind("unix:" + *file);
            CHECK(listener.error() == std::errc::address_in_use);
        },
        &path);
    std::string text;
    std::ifstream(path) >> text;
    CHECK(text == "data");
    unlink(path.c_str());
}

TEST_CASE("a live unix listener whose queue is full blocks neither bind nor connect") {
    const std::string path = "/tmp/chainring-full-" + std::to_string(getpid());
    in_runtime(
        [](const std::string* where) -> Task<> {
            const Address address = Address::parse("unix:" + *where).value();
            const int listening = plain::listen(address, 0);
            REQUIRE(listening >= 0);
            const int filler = co_await plain::connect(address);
            REQUIRE(filler >= 0);
            auto link = co_await Link::connect(address).within(5s);
            CHECK(link.error() == std::errc::resource_unavailable_try_again);
            auto second = co_await Listener::bind(address);
            CHECK(second.error() == std::errc::address_in_use);
            plain::close(filler);
            plain::close(listening);
        },
        &path);
    unlink(path.c_str());
}

TEST_CASE("a close that waits behind another task's data completes with the data") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string block(8 << 20, 'c');
        bool whole = false;
        Scope scope;
        scope.spawn(send_all, &pair.near, &block, &whole);
        co_await sleep_for(1ms);
        scope.spawn(close_link, &pair.near);
        std::size_t received = 0;
        while (auto chunk = co_await pair.far.recv()) received += chunk->size();
        co_await scope.join();
        CHECK(received == block.size());
        CHECK(whole);
    });
}

TEST_CASE("posts beyond one gather leave while the worker spins") {
    RuntimeOptions options = one_worker();
    options.spin = 50us;
    in_runtime_with(options, []() -> Task<> {
        auto pair = co_await connected();
        const Outbox outbox = pair.near.outbox();
        for (int post = 0; post < 200; ++post) outbox.post(Payload(std::string(10, 'p')));  // a gather takes 64
        std::string all(2000, ' ');
        auto whole = co_await pair.far.recv_exact(std::as_writable_bytes(std::span(all))).within(5s);
        CHECK(whole);
    });
}

TEST_CASE("a line that was found is not handed out after its Link has dropped it") {
    in_runtime([]() -> Task<> {
        for (int round = 0; round < 20; ++round) {
            auto pair = co_await connected();
            std::string line = "none";
            std::error_code error;
            Scope scope;
            scope.spawn(
                [](Link* link, std::string* text, std::error_code* why) -> Task<> {
                    auto got = co_await link->recv_until("\n", 100);
                    if (got)
                        *text = *got;
                    else
                        *why = got.error();
                },
                &pair.far, &line, &error);
            co_await passes(2);
            (co_await pair.near.send("hello\n")).value();
            (co_await pair.near.shutdown_write()).value();
            for (int pass = 0; pass < round; ++pass) co_await yield();
            pair.far.abort();  // before, between and after the arrival and the reader's turn
            co_await scope.join();
            const bool whole_or_error = line == "hello" || (line == "none" && error);
            CHECK(whole_or_error);
        }
    });
}

TEST_CASE("what a recv_exact puts back on a Link that has ended is freed") {
    in_runtime([]() -> Task<> {
        for (int round = 0; round < 20; ++round) {
            auto pair = co_await connected();
            std::error_code error;
            Scope scope;
            scope.spawn(
                [](Link* link, std::error_code* why) -> Task<> {
                    std::array<std::byte, 100> hundred{};
                    *why = (co_await link->recv_exact(hundred)).error();
                },
                &pair.far, &error);
            (co_await pair.near.send("only some of them")).value();
            co_await sleep_for(100us);
            (co_await pair.near.shutdown_write()).value();
            for (int pass = 0; pass < round; ++pass) co_await yield();
            pair.far.abort();
            co_await scope.join();
            CHECK(error);
        }
    });
}

TEST_CASE("closing waits for a peer that reads slowly, as long as it reads") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            constexpr std::size_t total = 16 << 20;
            auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
            Scope serving;
            serving.spawn(
                [](Listener* from) -> Task<> {
                    co_await from->serve([](Link link) -> Task<> {
                        link.outbox(std::size_t{1} << 30).post(Payload(std::string(total, 'x')));
                        co_return;
                    });
                },
                &listener);
            auto client = (co_await Link::connect(listener.address())).value();
            std::size_t received = 0;
            Duration passed{};
            while (auto chunk = co_await client.recv()) {
                received += chunk->size();
                if (received > total * 7 / 8) continue;  // by then the kernel has the rest
                // A tick for so many bytes: the kernel lets a sender go on only when a good part of its buffer is free.
                const Duration tick = chunk->size() * 1us;
                time->advance(tick);
                passed += tick;
                co_await passes(1);
            }
            CHECK(received == total);
            CHECK(passed > 10s);
            serving.cancel();
            co_await serving.join();
        },
        &clock);
}

namespace {

Task<> recv_within(Link* link, Duration limit, std::error_code* end) {
    *end = (co_await link->recv().within(limit)).error();
}
Task<> one_limited_recv(Link link) {
    (void)co_await link.recv().within(10min);
}
Task<> serve_one_limited_recv(Listener* listener) {
    co_await listener->serve(one_limited_recv);
}

}  // namespace

TEST_CASE("a Link that ends in the pass in which its receive's limit begins leaves no timer behind") {
    in_runtime([]() -> Task<> {
        for (int round = 0; round < 50; ++round) {
            auto pair = co_await connected();
            std::error_code end;
            Scope scope;
            scope.spawn(recv_within, &pair.near, 2ms, &end);
            co_await yield();
            pair.near.abort();
            co_await scope.join();
            CHECK(end == Errc::closed);
        }
        co_await sleep_for(5ms);  // each would be due by now
    });
}

TEST_CASE("the long limit of a receive does not lengthen the time that closing its Link may take") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            constexpr std::size_t count = 40;
            auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
            Scope serving;
            serving.spawn(serve_one_limited_recv, &listener);
            std::vector<Link> clients;
            for (std::size_t client = 0; client < count; ++client)
                clients.push_back((co_await Link::connect(listener.address())).value());
            while (metrics().links < 2 * count) co_await yield();
            for (Link& client : clients) (co_await client.send("x")).value();
            std::byte none[1];
            for (Link& client : clients) {  // it lingers: its end of stream has come, ours has not gone
                const auto end = co_await client.recv(none);
                CHECK(end.error() == Errc::eof);
            }
            CHECK(metrics().links == 2 * count);
            time->advance(detail::LinkState::linger_time);
            while (metrics().links > count) co_await yield();
            for (Link& client : clients) client.abort();
            serving.cancel();
            co_await serving.join();
        },
        &clock);
}
