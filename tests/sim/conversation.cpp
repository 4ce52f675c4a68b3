// SPDX-License-Identifier: BSL-1.0
#include "tests/sim/conversation.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <system_error>
#include <vector>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

constexpr Duration limit = 20s;

// The bytes of one connection, by their place in its stream.
class Pattern {
public:
    explicit Pattern(const Conversation& of) noexcept : salt_(of.number * 67 + of.connections * 31) {}
    std::byte at(std::uint64_t place) const noexcept {
        return static_cast<std::byte>((salt_ + place + (place >> 8) * 7) & 0xff);
    }
    std::vector<std::byte> take(std::uint64_t place, std::size_t size) const {
        std::vector<std::byte> bytes(size);
        for (std::size_t index = 0; index < size; ++index) bytes[index] = at(place + index);
        return bytes;
    }
    bool matches(std::uint64_t place, std::span<const std::byte> bytes) const noexcept {
        for (std::size_t index = 0; index < bytes.size(); ++index)
            if (bytes[index] != at(place + index)) return false;
        return true;
    }

private:
    std::uint64_t salt_;
};

// One connection of a Conversation.
struct Exchange {
    Exchange(Conversation& of, Link connected, unsigned since)
        : self(of), stage(*of.stage), link(std::move(connected)), pattern(of), began(since) {}
    Conversation& self;
    Stage& stage;
    Link link;
    Pattern pattern;
    unsigned began;              // see Stage::interruptions; when it asked for the connection
    std::uint64_t sent = 0;      // handed to send()
    std::uint64_t received = 0;  // compared
    bool ended_writing = false;
    std::vector<std::uint64_t> ends;  // of the messages, in the stream
    std::size_t counted = 0;          // messages that are back

    void take(std::span<const std::byte> bytes) {
        require(received + bytes.size() <= sent, "more comes back than was sent");
        require(pattern.matches(received, bytes), "what comes back is not what was sent");
        received += bytes.size();
        for (; counted < ends.size() && ends[counted] <= received; ++counted) {
            ++self.done;
            ++stage.figures.messages;
        }
    }
    // The receiving direction is over.
    void end(std::error_code error) {
        if (error != Errc::eof) return;
        const bool interrupted = stage.interrupted_since(began);
        require(ended_writing || interrupted, "the end of the stream comes before its time");
        require(received == sent || interrupted, "the stream ends in order, and bytes are missing");
        if (received == sent && ended_writing) ++stage.figures.orderly;
    }
};

// What is there, up to the end.
Task<> receive_rest(Exchange* in) {
    for (;;) {
        auto chunk = co_await in->link.recv().within(limit);
        if (!chunk) {
            in->end(chunk.error());
            co_return;
        }
        chunk->for_each([&](std::span<const std::byte> piece) { in->take(piece); });
        chunk = Chunk();
        if (in->self.style == Style::dawdles) co_await sleep_for(in->stage.draw_time(20ms));
    }
}

Task<> ask(Exchange* in, unsigned count) {
    for (unsigned question = 0; question < count; ++question) {
        const auto size = static_cast<std::size_t>(in->stage.draw(1, 1500));
        const std::vector<std::byte> bytes = in->pattern.take(in->sent, size);
        in->sent += size;
        in->ends.push_back(in->sent);
        const auto sent = co_await in->link.send(bytes).within(limit);
        if (!sent) co_return;
        std::vector<std::byte> answer(size);
        const auto got = co_await in->link.recv_exact(answer).within(limit);
        if (!got) {
            if (got.error() == Errc::eof) co_await receive_rest(in);  // a part of it
            co_return;
        }
        in->take(answer);
        co_await sleep_for(in->stage.draw_time(100ms));
    }
    if (in->self.style == Style::leaves) {
        const std::vector<std::byte> bytes = in->pattern.take(in->sent, 700);
        const bool waits = in->stage.draw(0, 1) == 0;
        in->sent += bytes.size();
        if (waits) static_cast<void>(co_await in->link.send(bytes).within(limit));
        co_return;
    }
    in->ended_writing = true;
    const auto ended = co_await in->link.shutdown_write().within(limit);
    if (ended) co_await receive_rest(in);
}

Task<> write(Exchange* in, unsigned count) {
    const bool much = in->self.style == Style::dawdles;
    for (unsigned message = 0; message < count; ++message) {
        const std::uint64_t most = message == 0 ? (much ? 60'000 : 9'000) : 1'500;
        const auto size = static_cast<std::size_t>(in->stage.draw(1, most));
        const std::vector<std::byte> bytes = in->pattern.take(in->sent, size);
        in->sent += size;
        in->ends.push_back(in->sent);
        const auto sent = co_await in->link.send(bytes).within(limit);
        if (!sent) co_return;
        co_await sleep_for(in->stage.draw_time(60ms));
    }
    in->ended_writing = true;
    static_cast<void>(co_await in->link.shutdown_write().within(limit));
}

Task<> stream(Exchange* in, unsigned count) {
    Scope scope;
    scope.spawn(write, in, count);
    std::exception_ptr broken;
    try {
        co_await receive_rest(in);
    } catch (...) {
        broken = std::current_exception();
    }
    in->link.abort();
    scope.cancel();
    co_await scope.join();
    if (broken) std::rethrow_exception(broken);
}

}  // namespace

Task<> converse(Conversation* self, Address server) {
    while (!self->satisfied()) {
        const unsigned began = self->stage->interruptions();
        auto link = co_await Link::connect(server).within(5s);
        if (link) {
            ++self->connections;
            Exchange exchange(*self, std::move(*link), began);
            const unsigned left = self->messages - self->done;
            if (self->style == Style::asks)
                co_await ask(&exchange, left);
            else if (self->style == Style::leaves)
                co_await ask(&exchange, std::min(left, 4U));
            else
                co_await stream(&exchange, left);
        }
        const bool goes_on = co_await sleep_for(1ms + self->stage->draw_time(200ms));
        if (!goes_on) co_return;  // cancelled
    }
}
