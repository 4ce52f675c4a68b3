// SPDX-License-Identifier: BSL-1.0
// How receives end: what an early end did not deliver, the next receive must.
#include "tests/unit/contest.hpp"

#include <array>

using namespace support;

namespace {

// The peer sends an endless stream whose bytes tell their position.
class StreamContest : public Contest {
public:
    Task<> begin() override {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        wired_ = co_await wired(listener);
    }
    Task<> complete() override {
        // In two parts, at times: the second comes later.
        co_await peer().send(bytes_from(sent_, first_));
        sent_ += first_;
        if (second_ == 0) co_return;
        co_await yield();
        co_await peer().send(bytes_from(sent_, second_));
        sent_ += second_;
    }
    Task<> settle(std::error_code error) override {
        if (error || drain_) co_await drain();
    }
    Task<> end() override {
        co_await drain();
        wired_ = Wired();
    }

protected:
    Link& link() noexcept { return wired_.link; }
    const Peer& peer() const noexcept { return wired_.peer; }
    void got(std::string_view bytes) {
        CHECK(bytes == bytes_from(std::exchange(received_, received_ + bytes.size()), bytes.size()));
    }
    void saw(std::string_view bytes) const { CHECK(bytes == bytes_from(received_, bytes.size())); }
    std::size_t unread() const noexcept { return static_cast<std::size_t>(sent_ - received_); }
    void will_send(std::size_t first, std::size_t second) noexcept {
        first_ = first;
        second_ = second;
    }
    bool drain_ = true;  // after a round that went well, too

private:
    Task<> drain() {
        while (received_ < sent_) {
            auto chunk = co_await link().recv();
            CHECK(chunk);
            if (!chunk) break;
            got(chunk->to_string());
        }
    }
    Wired wired_;
    std::uint64_t sent_ = 0;
    std::uint64_t received_ = 0;
    std::size_t first_ = 1;
    std::size_t second_ = 0;
};

class RecvContest final : public StreamContest {
    Task<> prepare(Random& random) override {
        will_send(1 + random.below(random.one_in(10) ? 100'000 : 3'000), random.one_in(2) ? random.below(3'000) : 0);
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        auto chunk = co_await limited(link().recv(), limit);
        if (!chunk) co_return chunk.error();
        got(chunk->to_string());
        co_return std::error_code();
    }
};

class RecvIntoContest final : public StreamContest {
    Task<> prepare(Random& random) override {
        room_ = 1 + random.below(3'000);
        will_send(1 + random.below(3'000), random.one_in(2) ? random.below(3'000) : 0);
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        std::array<std::byte, 3'000> into{};
        const auto count = co_await limited(link().recv(std::span(into).first(room_)), limit);
        if (!count) co_return count.error();
        got(as_text(std::span(into).first(*count)));
        co_return std::error_code();
    }
    std::size_t room_ = 1;
};

class RecvExactContest final : public StreamContest {
    Task<> prepare(Random& random) override {
        room_ = 1 + random.below(3'000);
        const std::size_t first = random.below(static_cast<unsigned>(room_));
        will_send(first, room_ - first + (random.one_in(3) ? random.below(100) : 0));
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        std::array<std::byte, 3'000> into{};
        const auto filled = co_await limited(link().recv_exact(std::span(into).first(room_)), limit);
        if (!filled) co_return filled.error();
        got(as_text(std::span(into).first(room_)));
        co_return std::error_code();
    }
    std::size_t room_ = 1;
};

class PeekContest final : public StreamContest {
    Task<> prepare(Random& random) override {
        const std::size_t first = random.below(3'000);
        will_send(first, 1 + random.below(3'000));
        at_least_ = first + 1;
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        std::array<std::byte, 3'001> into{};
        const auto seen = co_await limited(link().peek(into, at_least_), limit);
        if (!seen) co_return seen.error();
        CHECK(*seen >= at_least_);
        saw(as_text(std::span(into).first(*seen)));
        co_return std::error_code();
    }
    std::size_t at_least_ = 1;
};

// Lines with their numbers, some longer than a small segment.
class RecvUntilContest final : public Contest {
public:
    Task<> begin() override {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        wired_ = co_await wired(listener);
    }
    Task<> prepare(Random& random) override {
        line_ = std::to_string(++number_) + std::string(random.below(random.one_in(4) ? 5'000 : 20), 'x');
        cut_ = random.below(static_cast<unsigned>(line_.size() + 2));
        completed_ = false;
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        auto line = co_await limited(wired_.link.recv_until("\r\n", 10'000), limit);
        if (line) CHECK(*line == line_);
        co_return line.error();
    }
    Task<> complete() override {
        completed_ = true;
        const std::string text = line_ + "\r\n";
        co_await wired_.peer.send(text.substr(0, cut_));
        co_await yield();
        co_await wired_.peer.send(text.substr(cut_));
    }
    Task<> settle(std::error_code error) override {
        if (!error || !completed_) co_return;
        auto line = co_await wired_.link.recv_until("\r\n", 10'000);
        CHECK(line);
        if (line) CHECK(*line == line_);
    }
    Task<> end() override {
        wired_ = Wired();
        co_return;
    }

private:
    Wired wired_;
    std::string line_;
    std::size_t cut_ = 0;
    unsigned number_ = 0;
    bool completed_ = false;
};

// Messages with their numbers, in two parts; at times two come at once.
class FramedContest final : public Contest {
public:
    Task<> begin() override {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        wired_ = co_await wired(listener);
        framed_.emplace(wired_.link);
    }
    Task<> prepare(Random& random) override {
        stream_.clear();
        for (unsigned count = random.one_in(3) ? 2 : 1; count > 0; --count) {
            std::array<std::byte, 4> header{};
            const std::string message =
                std::to_string(sent_++) + std::string(random.below(random.one_in(4) ? 20'000 : 20), 'x');
            ByteWriter(header).write_be(static_cast<std::uint32_t>(message.size()));
            stream_ += as_text(header);
            stream_ += message;
        }
        cut_ = random.below(static_cast<unsigned>(stream_.size()));
        completed_ = false;
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        auto message = co_await limited(framed_->recv(), limit);
        if (message) got(message->text());
        co_return message.error();
    }
    Task<> complete() override {
        completed_ = true;
        co_await wired_.peer.send(stream_.substr(0, cut_));
        co_await yield();
        co_await wired_.peer.send(stream_.substr(cut_));
    }
    Task<> settle(std::error_code) override {
        if (!completed_) {
            sent_ = received_;
            co_return;
        }
        while (received_ < sent_) {
            auto message = co_await framed_->recv();
            CHECK(message);
            if (!message) break;
            got(message->text());
        }
    }
    Task<> end() override {
        framed_.reset();
        wired_ = Wired();
        co_return;
    }

private:
    void got(std::string_view message) {
        const std::string number = std::to_string(received_++);
        CHECK(message.substr(0, number.size()) == number);
        CHECK(message.substr(number.size()) == std::string(message.size() - number.size(), 'x'));
    }
    Wired wired_;
    std::optional<Framed<LengthPrefixed>> framed_;
    std::string stream_;
    std::size_t cut_ = 0;
    unsigned sent_ = 0;
    unsigned received_ = 0;
    bool completed_ = false;
};

// The end of the stream, or a reset, while a receive waits.
class EndOfStreamContest final : public Contest {
public:
    Task<> begin() override { listener_ = (co_await Listener::bind("127.0.0.1:0")).value(); }
    Task<> prepare(Random& random) override {
        wired_ = co_await wired(listener_);
        reset_ = random.one_in(2);
        completed_ = false;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto chunk = co_await limited(wired_.link.recv(), limit);
        co_return is_end(chunk.error()) ? std::error_code() : chunk.error();
    }
    Task<> complete() override {
        completed_ = true;
        if (reset_)
            wired_.peer = Peer();
        else
            wired_.peer.shutdown_write();
        co_return;
    }
    Task<> settle(std::error_code error) override {
        if (error && completed_) {
            const auto chunk = co_await wired_.link.recv();
            CHECK(is_end(chunk.error()));
        }
        wired_ = Wired();
    }
    Task<> end() override {
        listener_ = Listener();
        co_return;
    }

private:
    bool is_end(std::error_code error) const {
        return reset_ ? error == std::errc::connection_reset : error == Errc::eof;
    }
    Listener listener_;
    Wired wired_;
    bool reset_ = false;
    bool completed_ = false;
};

}  // namespace

TEST_CASE("a cancelled or late recv loses and doubles no byte") {
    contend<RecvContest>();
}

TEST_CASE("a cancelled or late recv into a span loses and doubles no byte") {
    contend<RecvIntoContest>();
}

TEST_CASE("a cancelled or late recv_exact leaves all that it had for the next receive") {
    contend<RecvExactContest>();
}

TEST_CASE("a peek, cancelled, late or not, leaves everything") {
    contend<PeekContest>();
}

TEST_CASE("a cancelled or late recv_until leaves its line for the next") {
    contend<RecvUntilContest>();
}

TEST_CASE("a cancelled or late receive of a message leaves all of it for the next") {
    contend<FramedContest>();
}

TEST_CASE("the end of a stream that meets a cancel or a limit is told by the next receive") {
    contend<EndOfStreamContest>();
}
