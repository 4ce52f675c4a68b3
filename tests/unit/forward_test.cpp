// SPDX-License-Identifier: BSL-1.0
// Forwards: what has been received is handed over to be sent, and its task goes on.
#include "tests/unit/support.hpp"

#include <array>
#include <sys/socket.h>
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

// Each handing over of the queue makes room for the next; what follows a forward finds it in the kernel, or not yet.
TEST_CASE("more forwards in one pass than the submission queue has entries, with what may follow one: all arrive" *
          not_misbehaving()) {
    RuntimeOptions options = one_worker();
    options.ring_entries = 32;
    in_runtime_with(options, []() -> Task<> {
        constexpr std::size_t count = 100;
        std::vector<Pair> pairs;
        std::vector<Chunk> chunks;
        for (std::size_t made = 0; made < count; ++made) pairs.push_back(co_await connected());
        for (int round = 0; round < 3; ++round) {
            chunks.clear();
            for (Pair& pair : pairs) chunks.push_back(co_await receive(&pair, "question"));
            std::vector<Outbox> outboxes;
            for (std::size_t at = 0; at < count; ++at) {
                (co_await pairs[at].near.forward(std::move(chunks[at]))).value();
                if (at % 3 == 0) outboxes.push_back(pairs[at].near.outbox());
                if (at % 3 == 0) CHECK(outboxes.back().post(Payload(std::string(" posted"))) == Posted::queued);
                if (at % 3 == 1) pairs[at].near.close_when_idle(1h, IdleMeans::nothing_received_or_sent);
            }
            for (std::size_t at = 0; at < count; ++at) {
                const std::string answer = at % 3 == 0 ? "question posted" : "question";
                CHECK((co_await recv_text(&pairs[at].far, answer.size())) == answer);
            }
        }
        chunks.clear();
        for (Pair& pair : pairs) chunks.push_back(co_await receive(&pair, "last"));
        Scope closing;
        for (std::size_t at = 0; at < count; ++at) {
            (co_await pairs[at].near.forward(std::move(chunks[at]))).value();
            if (at % 4 == 0)
                pairs[at].near.abort();
            else
                closing.spawn(
                    [](Link* link, bool gracefully) -> Task<> {
                        if (gracefully)
                            (void)co_await link->close_gracefully(5s);
                        else
                            co_await link->close();
                    },
                    &pairs[at].near, at % 4 < 3);
        }
        for (std::size_t at = 0; at < count; ++at) {
            if (at % 4 == 0) continue;
            std::string rest;
            co_await collect(&pairs[at].far, &rest);
            CHECK(rest == "last");
            co_await pairs[at].far.close();
        }
        co_await closing.join();
    });
}
