// SPDX-License-Identifier: BSL-1.0
// Sending: units stay whole and in order; how a send ends early; half close, close and abort.
#include "tests/unit/support.hpp"

#include <cstring>
#include <vector>

using namespace support;

namespace {

// Receives everything up to eof or an error.
Task<> collect(Link* link, std::string* all, std::error_code* end) {
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) {
            *end = chunk.error();
            co_return;
        }
        *all += chunk->to_string();
    }
}

Task<> send_frames(Link* link, unsigned sender, unsigned count) {
    for (unsigned number = 0; number < count; ++number) {
        // A frame is a line: "SENDER NUMBER xxxx...\n", its length depends on its number.
        const std::string frame = std::to_string(sender) + " " + std::to_string(number) + " " +
                                  std::string(1 + (sender * 7919 + number * 104729) % 3000, 'x') + "\n";
        (co_await link->send(frame)).value();
    }
}

}  // namespace

TEST_CASE("a send completes when all bytes are taken, however large it is") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        std::string text(20'000'000, '\0');
        for (std::size_t at = 0; at < text.size(); ++at) text[at] = static_cast<char>(at * 2654435761U >> 13);
        std::string got;
        std::error_code end;
        Scope scope;
        scope.spawn(collect, &pair.far, &got, &end);
        auto sent = co_await pair.near.send(text);
        CHECK(*sent == text.size());
        (co_await pair.near.shutdown_write()).value();
        co_await scope.join();
        CHECK(got == text);
        CHECK(end == Errc::eof);
    });
}

TEST_CASE("a vectored send is one unit of all its pieces") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        std::vector<std::string> parts;
        std::string whole;
        for (int part = 0; part < 200; ++part) {
            parts.push_back(std::string(static_cast<std::size_t>(part * 13 % 97), static_cast<char>('a' + part % 26)));
            whole += parts.back();
        }
        std::vector<IoSlice> slices(parts.begin(), parts.end());
        auto sent = co_await pair.near.send(slices);
        CHECK(*sent == whole.size());
        std::string got(whole.size(), '\0');
        (co_await pair.far.recv_exact(std::as_writable_bytes(std::span(got)))).value();
        CHECK(got == whole);
        auto nothing = co_await pair.near.send("");
        CHECK(*nothing == 0);
        auto no_pieces = co_await pair.near.send(std::span<const IoSlice>());
        CHECK(*no_pieces == 0);
    });
}

TEST_CASE("sends of many tasks do not mix, and each task's order is kept") {
    in_runtime([]() -> Task<> {
        constexpr unsigned senders = 16;
        constexpr unsigned frames = 200;
        auto pair = co_await connected();
        std::string got;
        std::error_code end;
        Scope reader;
        reader.spawn(collect, &pair.far, &got, &end);
        Scope scope;
        for (unsigned sender = 0; sender < senders; ++sender) scope.spawn(send_frames, &pair.near, sender, frames);
        co_await scope.join();
        (co_await pair.near.shutdown_write()).value();
        co_await reader.join();
        std::vector<unsigned> next(senders);
        bool right = true;
        std::size_t lines = 0;
        for (std::size_t at = 0; at < got.size(); ++lines) {
            const std::size_t line_end = got.find('\n', at);
            REQUIRE(line_end != std::string::npos);
            unsigned sender = 0;
            unsigned number = 0;
            int prefix = 0;
            REQUIRE(std::sscanf(got.c_str() + at, "%u %u %n", &sender, &number, &prefix) == 2);
            REQUIRE(sender < senders);
            right &= number == next[sender]++;
            const std::size_t fill = line_end - at - static_cast<std::size_t>(prefix);
            right &= fill == 1 + (sender * 7919 + number * 104729) % 3000;
            at = line_end + 1;
        }
        CHECK(right);
        CHECK(lines == senders * frames);
    });
}

namespace {

// A frame: its length, who sent it and its number there, and bytes that follow from both.
struct FrameHead {
    std::uint32_t size;
    std::uint32_t sender;
    std::uint32_t number;
};

std::uint64_t mixed(std::uint64_t value) {
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    return value ^ value >> 27;
}

std::string frame_of(std::uint32_t sender, std::uint32_t number) {
    const std::uint64_t seed = mixed((std::uint64_t{sender} << 32 | number) + 1);
    const FrameHead head{static_cast<std::uint32_t>(sizeof(FrameHead) + seed % 200), sender, number};
    std::string frame(head.size, static_cast<char>(seed >> 8));
    std::memcpy(frame.data(), &head, sizeof head);
    return frame;
}

// FNV-1a (RFC draft-eastlake-fnv), of one frame; those of all frames are added, in whatever order they come.
std::uint64_t checksum(std::string_view bytes) {
    std::uint64_t sum = 0xcbf29ce484222325;
    for (const char byte : bytes) sum = (sum ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    return sum;
}

// Every third frame is a shared payload, every third one is in pieces.
Task<> send_numbered(Link* link, std::uint32_t sender, std::uint32_t frames, std::uint64_t* sum) {
    for (std::uint32_t number = 0; number < frames; ++number) {
        const std::string frame = frame_of(sender, number);
        *sum += checksum(frame);
        if (number % 3 == 0) {
            (co_await link->send(Payload(frame))).value();
        } else if (number % 3 == 1) {
            const std::string_view view(frame);
            const std::array<IoSlice, 2> pieces{IoSlice(view.substr(0, 5)), IoSlice(view.substr(5))};
            (co_await link->send(pieces)).value();
        } else {
            (co_await link->send(frame)).value();
        }
    }
}

}  // namespace

// CHAINRING_FRAMES replaces the number of frames; a million is the full run.
TEST_CASE("64 senders on four workers to one Link: each one's order is kept, and no frame is torn") {
    RuntimeOptions options = one_worker();
    options.workers = 4;
    in_runtime_with(options, []() -> Task<> {
        constexpr unsigned senders = 64;
        const char* wanted = std::getenv("CHAINRING_FRAMES");
        const auto each = static_cast<std::uint32_t>((wanted ? std::atoi(wanted) : 16'000) / int{senders});
        auto pair = co_await connected();
        std::array<std::uint64_t, senders> sums{};
        Scope scope;
        const Instant start = now();
        for (unsigned sender = 0; sender < senders; ++sender)
            scope.spawn_on(sender % 4, send_numbered, &pair.near, sender, each, &sums[sender]);
        std::array<std::uint32_t, senders> next{};
        std::uint64_t received = 0;
        bool right = true;
        std::string frame(sizeof(FrameHead) + 200, '\0');
        for (std::uint64_t at = 0; right && at < std::uint64_t{senders} * each; ++at) {
            const auto bytes = std::as_writable_bytes(std::span(frame));
            (co_await pair.far.recv_exact(bytes.first(sizeof(FrameHead)))).value();
            FrameHead head{};
            std::memcpy(&head, frame.data(), sizeof head);
            right = head.sender < senders && head.number == next[head.sender]++ && head.size >= sizeof head &&
                    head.size <= frame.size();
            if (!right) break;
            if (head.size > sizeof head)
                (co_await pair.far.recv_exact(bytes.subspan(sizeof head, head.size - sizeof head))).value();
            received += checksum(std::string_view(frame).substr(0, head.size));
        }
        CHECK(right);
        if (!right) pair.near.abort();
        co_await scope.join();
        std::uint64_t sent = 0;
        for (const std::uint64_t sum : sums) sent += sum;
        CHECK(received == sent);
        const double seconds = std::chrono::duration<double>(now() - start).count();
        MESSAGE((senders * each) << " frames, " << static_cast<std::uint64_t>(senders * each / seconds) << " a second");
    });
}

TEST_CASE("a payload is sent without a copy, and kept as long as the send needs it") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const Payload payload(std::string(8'000'000, 'p'));
        Scope scope;
        scope.spawn(
            [](Link* link, Payload what) -> Task<> {
                const auto sent = co_await link->send(std::move(what));
                CHECK(*sent == 8'000'000);
            },
            &pair.near, payload);
        co_await passes(2);
        CHECK(payload.shared_by() == 2);
        std::string got(payload.size(), '\0');
        (co_await pair.far.recv_exact(std::as_writable_bytes(std::span(got)))).value();
        co_await scope.join();
        CHECK(payload.shared_by() == 1);
        CHECK(got == std::string(8'000'000, 'p'));
        CHECK((co_await pair.near.send(Payload())).value() == 0);
        const auto limited = co_await pair.near.send(payload).within(0ms);
        CHECK((limited || limited.error() == Errc::timed_out));
        CHECK(payload.shared_by() == 1);
    });
}

TEST_CASE("small sends that queue up leave together" * not_misbehaving()) {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        co_await yield();
        const std::uint64_t before = metrics().completions;
        Scope scope;
        for (int task = 0; task < 40; ++task)
            scope.spawn([](Link* link) -> Task<> { (co_await link->send("0123456789")).value(); }, &pair.near);
        co_await scope.join();
        CHECK(metrics().completions - before <= 3);
        std::array<std::byte, 400> all{};
        (co_await pair.far.recv_exact(all)).value();
    });
}

TEST_CASE("a chunk is sent on, in order with other sends" * not_misbehaving()) {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("one")).value();
        auto chunk = co_await pair.far.recv();
        (co_await pair.far.send("[")).value();
        auto sent = co_await pair.far.send(std::move(*chunk));
        CHECK(*sent == 3);
        (co_await pair.far.send("]")).value();
        std::array<std::byte, 5> back{};
        (co_await pair.near.recv_exact(back)).value();
        CHECK(as_text(back) == "[one]");
        CHECK(metrics().buffers_lent <= 1);
    });
}

TEST_CASE("a send that times out before its first byte leaves the stream whole") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string block(8 << 20, 'b');
        Scope scope;
        std::size_t first_sent = 0;
        scope.spawn([](Link* link, const std::string* data,
                       std::size_t* sent) -> Task<> { *sent = (co_await link->send(*data)).value(); },
                    &pair.near, &block, &first_sent);
        co_await sleep_for(5ms);  // the first send is stuck: nobody reads
        auto second = co_await pair.near.send("never").within(10ms);
        CHECK(second.error() == Errc::timed_out);
        scope.spawn([](Link* link) -> Task<> { (co_await link->send("after")).value(); }, &pair.near);
        std::string got(block.size() + 5, '\0');
        (co_await pair.far.recv_exact(std::as_writable_bytes(std::span(got)))).value();
        CHECK(got.substr(block.size()) == "after");
        co_await scope.join();
        CHECK(first_sent == block.size());
    });
}

TEST_CASE("a send that ends in the middle of its unit breaks the direction and says how much went") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string block(32 << 20, 'b');
        SendOp op = pair.near.send(block);
        auto sent = co_await std::move(op).within(20ms);
        CHECK(sent.error() == Errc::timed_out);
        CHECK(op.sent() > 0);
        CHECK(op.sent() < block.size());
        auto next = co_await pair.near.send("more");
        CHECK(next.error() == Errc::write_broken);
        std::string got;
        std::error_code end;
        Scope scope;
        scope.spawn(collect, &pair.far, &got, &end);
        co_await pair.near.close();
        co_await scope.join();
        CHECK(got.size() == op.sent());
    });
}

TEST_CASE("a cancelled send ends at once, also when the peer never reads") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string block(32 << 20, 'b');
        std::error_code error;
        Scope scope;
        scope.spawn([](Link* link, const std::string* data,
                       std::error_code* why) -> Task<> { *why = (co_await link->send(*data)).error(); },
                    &pair.near, &block, &error);
        co_await sleep_for(5ms);
        scope.cancel();
        co_await scope.join();
        CHECK(error == Errc::cancelled);
    });
}

TEST_CASE("sending after shutdown_write is an error, as is sending to a peer that is gone") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.shutdown_write()).value();
        auto late = co_await pair.near.send("late");
        CHECK(late.error() == std::errc::broken_pipe);
        pair.near.abort();
        auto gone = co_await pair.far.recv();
        gone = co_await pair.far.recv();  // eof first, where the FIN came before the RST
        CHECK(!gone);
        bool failed = false;
        for (int attempt = 0; attempt < 100 && !failed; ++attempt) failed = !(co_await pair.far.send("anybody there?"));
        CHECK(failed);  // EPIPE or ECONNRESET; SIGPIPE kills nobody
    });
}

TEST_CASE("close sends what is queued before the end of stream") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string block(6 << 20, 'c');
        std::string got;
        std::error_code end;
        bool begun = false;
        Scope scope;
        scope.spawn(
            [](Link* link, const std::string* data, bool* sending) -> Task<> {
                *sending = true;
                (co_await link->send(*data)).value();
            },
            &pair.near, &block, &begun);
        while (!begun) co_await yield();
        scope.spawn(collect, &pair.far, &got, &end);
        co_await pair.near.close();
        co_await scope.join();
        CHECK(got.size() == block.size());
        CHECK(end == Errc::eof);
        auto closed = co_await pair.near.send("x");
        CHECK(closed.error() == Errc::closed);
        auto unreadable = co_await pair.near.recv();
        CHECK(unreadable.error() == Errc::closed);
        co_await pair.near.close();  // again: nothing to do
    });
}

TEST_CASE("a close with a limit resets a peer that does not read") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string block(32 << 20, 'c');
        std::error_code error;
        Scope scope;
        scope.spawn([](Link* link, const std::string* data,
                       std::error_code* why) -> Task<> { *why = (co_await link->send(*data)).error(); },
                    &pair.near, &block, &error);
        co_await sleep_for(2ms);
        const Instant start = now();
        co_await pair.near.close().within(20ms);
        CHECK(now() - start < 5s);
        co_await scope.join();
        CHECK(error == Errc::closed);
    });
}

TEST_CASE("abort ends the operations of both ends") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        std::error_code near_end;
        std::error_code far_end;
        std::string none;
        Scope scope;
        scope.spawn(collect, &pair.near, &none, &near_end);
        scope.spawn(collect, &pair.far, &none, &far_end);
        co_await sleep_for(1ms);
        pair.near.abort();
        co_await scope.join();
        CHECK(near_end == Errc::closed);
        CHECK(far_end == std::error_code(ECONNRESET, std::system_category()));
    });
}

TEST_CASE("a dropped Link is reset, its descriptor closed, whatever was in flight") {
    const int before = descriptors();
    in_runtime([before]() -> Task<> {
        const int base = descriptors();
        for (int round = 0; round < 100; ++round) {
            auto pair = co_await connected();
            std::error_code end;
            std::string none;
            Scope scope;
            scope.spawn(collect, &pair.far, &none, &end);
            if (round % 2) co_await sleep_for(100us);
            { const Link dropped = std::move(pair.near); }
            co_await scope.join();
            CHECK(end);
        }
        co_await sleep_for(1ms);
        CHECK(descriptors() <= base);
        CHECK(before > 0);
    });
    CHECK(descriptors() == before);
}
