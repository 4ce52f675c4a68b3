// SPDX-License-Identifier: BSL-1.0
// How sends, half closes and closes end. What was said to be sent has arrived; of what was not, nothing has, or the
// direction is broken and says so.
#include "tests/unit/contest.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

using namespace support;

namespace {

enum class Form { plain, slices, chunk };

// A unit to be sent, in one of the three forms. A Chunk comes from a connection of its own.
class Unit {
public:
    Task<> begin() {
        auto listener = (co_await Listener::bind(unix_address())).value();
        source_ = co_await wired(listener);
    }
    Task<> make(Form form, std::string text) {
        form_ = form;
        text_ = std::move(text);
        if (form == Form::slices) {
            slices_.clear();
            for (std::string_view rest = text_; !rest.empty();) {
                const std::size_t part = std::min<std::size_t>(rest.size(), 1 + rest.size() / 7);
                slices_.emplace_back(rest.substr(0, part));
                rest.remove_prefix(part);
            }
        }
        if (form != Form::chunk) co_return;
        co_await source_.peer.send(text_);
        chunk_ = (co_await source_.link.recv()).value();
        while (chunk_.size() < text_.size()) {  // in several receives: as much as the first has
            auto rest = (co_await source_.link.recv()).value();
            text_.resize(text_.size() - rest.size());
        }
    }
    // Yields why it ended, and in `sent` how much the kernel has taken of it.
    Task<std::error_code> send(Link* link, MaybeLimit limit, std::size_t* sent) {
        if (form_ == Form::plain) {
            SendOp op = link->send(text_);
            co_return co_await finish(&op, limit, sent);
        }
        if (form_ == Form::slices) {
            SendOp op = link->send(std::span<const IoSlice>(slices_));
            co_return co_await finish(&op, limit, sent);
        }
        SendOp op = link->send(std::move(chunk_));
        co_return co_await finish(&op, limit, sent);
    }
    const std::string& text() const noexcept { return text_; }
    void end() {
        chunk_ = Chunk();
        source_ = Wired();
    }

private:
    static Task<std::error_code> finish(SendOp* op, MaybeLimit limit, std::size_t* sent) {
        const auto result = co_await limited(std::move(*op), limit);
        *sent = op->sent();
        if (result) CHECK(*result == *sent);
        co_return result.error();
    }
    Form form_ = Form::plain;
    std::string text_;
    std::vector<IoSlice> slices_;
    Chunk chunk_;
    Wired source_;
};

// Units that the socket has room for: each goes whole, or nothing of it. A kernel that is short of memory for all TCP
// takes a part nevertheless (tcp_mem in tcp(7); TcpExtTCPMemoryPressures counts it); a few of those are put up with.
class SmallSendContest final : public Contest {
public:
    SmallSendContest(std::string where, Form form) : where_(std::move(where)), form_(form) {
        waits = either_wins = false;
    }
    Task<> begin() override {
        co_await connect();
        co_await unit_.begin();
    }
    Task<> prepare(Random& random) override {
        co_await unit_.make(form_, bytes_from(position_, 1 + random.below(random.one_in(10) ? 20'000 : 1'000)));
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        std::size_t sent = 0;
        const auto error = co_await unit_.send(&wired_.link, limit, &sent);
        cut_ = error && sent > 0 ? sent : 0;
        if (cut_ == 0) CHECK(sent == (error ? 0 : unit_.text().size()));
        co_return error;
    }
    Task<> complete() override { co_return; }
    Task<> settle(std::error_code error) override {
        std::string got;
        if (cut_ > 0) {
            CHECK(++times_cut_ <= most_cut);
            co_await wired_.peer.take_exactly(&got, cut_);
            CHECK(got == unit_.text().substr(0, cut_));
            CHECK((co_await wired_.link.send("x")).error() == Errc::write_broken);
            co_await connect();
        } else if (!error) {
            co_await wired_.peer.take_exactly(&got, unit_.text().size());
            CHECK(got == unit_.text());
            position_ += got.size();
        }
        CHECK(wired_.peer.take(got, 1) < 0);
        co_return;
    }
    Task<> end() override {
        unit_.end();
        wired_ = Wired();
        co_return;
    }

private:
    static constexpr unsigned most_cut = 5;
    Task<> connect() {
        auto listener = (co_await Listener::bind(where_)).value();
        wired_ = co_await wired(listener);
    }
    std::string where_;
    Form form_;
    Wired wired_;
    Unit unit_;
    std::size_t cut_ = 0;  // of this round's unit, what was taken of a part
    unsigned times_cut_ = 0;
    std::uint64_t position_ = 0;
};

// A connection for each round, whose socket is full, or will be, until the peer reads.
class BlockedContest : public Contest {
public:
    explicit BlockedContest(std::string where, std::size_t large) : where_(std::move(where)), large_(large) {}
    Task<> begin() override { listener_ = (co_await Listener::bind(where_)).value(); }
    Task<> prepare(Random& random) override {
        wired_ = co_await wired(listener_);
        got_.clear();
        filled_ = {};
        filler_sent_ = 0;
        reads_ = random.below(static_cast<unsigned>(large_ / 20'000));
    }
    Task<> complete() override {
        for (unsigned count = 0; count < reads_; ++count) {
            wired_.peer.take(got_, 40'000);
            if (count % 4 == 3) co_await yield();
        }
    }
    Task<> end() override {
        listener_ = Listener();
        co_return;
    }

protected:
    // Begins a large send, which what follows has to wait for.
    void fill() {
        filler_ = bytes_from(0, large_);
        fillers_.emplace();
        fillers_->spawn(send_filler, this);
    }
    // The peer reads until the filler, if there is one, has ended.
    Task<> drain_filler() {
        if (!fillers_) co_return;
        while (fillers_->size() > 0) {
            while (wired_.peer.take(got_, 1 << 20) > 0) {
            }
            co_await passes(1);
        }
        co_await fillers_->join();
        fillers_.reset();
    }
    // The peer reads until the stream ends, in order or not.
    Task<long> read_to_the_end() {
        for (;;) {
            const long got = wired_.peer.take(got_, 1 << 20);
            if (got == 0 || (got < 0 && errno != EAGAIN)) co_return got;
            if (got < 0) co_await passes(1);
        }
    }
    // Sends a last word, closes, and reads what came before: exactly `all`, then the word unless it is refused, then
    // the end of the stream.
    Task<std::error_code> say_more_and_close(std::string all) {
        std::error_code refused;
        Scope scope;
        scope.spawn(last_word, &wired_.link, &refused);
        const long last = co_await read_to_the_end();
        co_await scope.join();
        CHECK(last == 0);
        if (!refused) all += "more";
        CHECK(got_.size() == all.size());
        CHECK((got_ == all));
        wired_ = Wired();
        co_return refused;
    }

    std::string where_;
    std::size_t large_;
    Listener listener_;
    Wired wired_;
    std::string got_;  // by the peer
    std::string filler_;
    std::error_code filled_;
    std::size_t filler_sent_ = 0;
    std::optional<Scope> fillers_;
    unsigned reads_ = 0;

private:
    static Task<> last_word(Link* link, std::error_code* refused) {
        const auto sent = co_await link->send("more");
        *refused = sent.error();
        co_await link->close();
    }
    static Task<> send_filler(BlockedContest* self) {
        SendOp op = self->wired_.link.send(self->filler_);
        const auto sent = co_await op;
        self->filled_ = sent.error();
        self->filler_sent_ = op.sent();
    }
};

// Either the unit itself is too large for the socket, or it waits behind one that is.
class BlockedSendContest final : public BlockedContest {
public:
    BlockedSendContest(std::string where, std::size_t large, Form form, unsigned divide)
        : BlockedContest(std::move(where), large), form_(form) {
        fewer = divide;
    }
    Task<> begin() override {
        co_await BlockedContest::begin();
        co_await unit_.begin();
    }
    Task<> prepare(Random& random) override {
        co_await BlockedContest::prepare(random);
        behind_ = form_ == Form::chunk || random.one_in(2);
        ended_ = false;
        sent_ = 0;
        if (behind_) fill();
        const std::size_t size = behind_ ? 1 + random.below(5'000) : large_;
        co_await unit_.make(form_, bytes_from(1'000'000, size));
        if (behind_) co_await passes(2);
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto error = co_await unit_.send(&wired_.link, limit, &sent_);
        ended_ = true;
        co_return error;
    }
    Task<> complete() override {
        co_await BlockedContest::complete();
        while (!ended_) {  // the rest
            wired_.peer.take(got_, 1 << 20);
            co_await yield();
        }
    }
    Task<> settle(std::error_code error) override {
        co_await drain_filler();
        std::string all;
        if (behind_) {
            CHECK(!filled_);
            all = filler_;
        }
        CHECK((error ? sent_ < unit_.text().size() : sent_ == unit_.text().size()));
        all += std::string_view(unit_.text()).substr(0, sent_);
        const auto refused = co_await say_more_and_close(std::move(all));
        if (error && sent_ > 0)
            CHECK(refused == Errc::write_broken);
        else
            CHECK(!refused);
    }
    Task<> end() override {
        unit_.end();
        co_await BlockedContest::end();
    }

private:
    Form form_;
    Unit unit_;
    std::size_t sent_ = 0;
    bool behind_ = false;
    std::atomic<bool> ended_{false};
};

// A half close, behind a send that is blocked or by itself. One that was ended early has sent no end: the Link may
// send on.
class ShutdownContest final : public BlockedContest {
public:
    ShutdownContest() : BlockedContest(unix_address(), 400'000) { fewer = 2; }
    Task<> prepare(Random& random) override {
        co_await BlockedContest::prepare(random);
        fill();
        co_await passes(2);
        ended_ = false;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto done = co_await limited(wired_.link.shutdown_write(), limit);
        ended_ = true;
        co_return done.error();
    }
    Task<> complete() override {
        co_await BlockedContest::complete();
        while (!ended_) {
            wired_.peer.take(got_, 1 << 20);
            co_await yield();
        }
    }
    Task<> settle(std::error_code error) override {
        co_await drain_filler();
        CHECK(!filled_);
        co_await wired_.peer.send("still read");
        std::array<std::byte, 10> back{};
        const auto read = co_await wired_.link.recv_exact(back);
        CHECK(read);
        const auto refused = co_await say_more_and_close(std::move(filler_));
        CHECK(refused.operator bool() == !error);
    }

private:
    std::atomic<bool> ended_{false};
};

// A close ends in any case: in order, or as an abort. The descriptor is gone then, and so are those who wait.
class CloseContest final : public BlockedContest {
public:
    explicit CloseContest(std::string where) : BlockedContest(std::move(where), 400'000) {
        waits = either_wins = false;
        fewer = 2;
        when_cancelled = {};
    }
    Task<> prepare(Random& random) override {
        co_await BlockedContest::prepare(random);
        ended_ = false;
        with_filler_ = random.one_in(2);
        filler_.clear();
        if (with_filler_) fill();
        if (random.one_in(2)) {
            readers_.emplace();
            readers_->spawn(read, &wired_.link);
        }
        if (random.one_in(2)) co_await passes(1 + random.below(2));
        outbox_ = Outbox();
        if (random.one_in(3)) {
            outbox_ = wired_.link.outbox();
            CHECK(outbox_.post(Payload("posted")) == Posted::queued);
        }
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        co_await limited(wired_.link.close(), limit);
        CHECK(wired_.link.peer().error() == Errc::closed);
        ended_ = true;
        co_return std::error_code();
    }
    Task<> complete() override {
        co_await BlockedContest::complete();
        while (!ended_) {
            wired_.peer.take(got_, 1 << 20);
            co_await yield();
        }
    }
    Task<> settle(std::error_code) override {
        if (readers_) co_await readers_->join();
        readers_.reset();
        if (outbox_) {
            CHECK(outbox_.post(Payload("late")) == Posted::closed);
            CHECK(outbox_.queued() == 0);
        }
        co_await read_to_the_end();
        if (fillers_) co_await fillers_->join();
        fillers_.reset();
        const std::string all = filler_ + "posted";
        const std::string also = "posted" + filler_;
        CHECK((got_ == std::string_view(all).substr(0, got_.size()) ||
               got_ == std::string_view(also).substr(0, got_.size())));
        wired_ = Wired();
    }

private:
    static Task<> read(Link* link) {
        const auto chunk = co_await link->recv();
        CHECK(chunk.error() == Errc::closed);
    }
    std::optional<Scope> readers_;
    Outbox outbox_;
    bool with_filler_ = false;
    std::atomic<bool> ended_{false};
};

constexpr Form forms[] = {Form::plain, Form::slices, Form::chunk};

}  // namespace

// A kernel that takes a part of a small send though it has room for all is one of a misbehaving world only.
TEST_CASE("a small send that is cancelled or late has gone whole or not at all" * not_misbehaving()) {
    for (const Form form : forms) {
        contend<SmallSendContest>(std::string("127.0.0.1:0"), form);
        contend<SmallSendContest>(unix_address(), form);
    }
}

TEST_CASE("a blocked send that is cancelled or late says how much has gone") {
    for (const Form form : forms) contend<BlockedSendContest>(unix_address(), std::size_t{400'000}, form, 4U);
}

// Megabytes, which a misbehaving world carries in pieces of any size: half a minute there, and the case above does it.
TEST_CASE("a blocked send over TCP that is cancelled or late says how much has gone" * not_misbehaving()) {
    for (const Form form : forms)
        contend<BlockedSendContest>(std::string("127.0.0.1:0"), std::size_t{8'000'000}, form, 100U);
}

TEST_CASE("a half close that is cancelled or late has sent the end of the stream or has not, as it says") {
    contend<ShutdownContest>();
}

TEST_CASE("a close that is cancelled or late has closed the descriptor all the same") {
    contend<CloseContest>(std::string("127.0.0.1:0"));
    contend<CloseContest>(unix_address());
}
