// SPDX-License-Identifier: BSL-1.0
// How the making of connections ends: accept, serve, connect. No connection is lost, no descriptor left.
#include "tests/unit/contest.hpp"

#include <atomic>
#include <cerrno>
#include <deque>
#include <unistd.h>
#include <vector>

using namespace support;

namespace {

// Clients connect one after the other, and each says its number: they are accepted in that order, and all of them.
class AcceptContest final : public Contest {
public:
    explicit AcceptContest(std::string where) : where_(std::move(where)) {}
    Task<> begin() override { listener_ = (co_await Listener::bind(where_)).value(); }
    Task<> prepare(Random& random) override {
        coming_ = 1 + (random.one_in(4) ? random.below(4) : 0);
        drain_ = random.one_in(2);
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        auto accepted = co_await limited(listener_.accept(), limit);
        if (!accepted) co_return accepted.error();
        co_await greet(&*accepted);
        co_return std::error_code();
    }
    Task<> complete() override {
        for (; coming_ > 0; --coming_) {
            clients_.push_back(co_await connected_peer(listener_.address()));
            const Peer& client = clients_.back();
            client.try_send(std::string_view(reinterpret_cast<const char*>(&connected_), sizeof connected_));
            ++connected_;
        }
        co_return;
    }
    Task<> settle(std::error_code error) override {
        if (error || drain_) co_await drain();
    }
    Task<> end() override {
        co_await drain();
        listener_ = Listener();
    }

private:
    // Under a task that may be cancelled: then it has no time to hear.
    Task<> greet(Link* link) {
        unsigned number = 0;
        const auto heard = co_await link->recv_exact(std::as_writable_bytes(std::span(&number, 1)));
        if (heard) CHECK(number == accepted_);
        ++accepted_;
    }
    Task<> drain() {
        while (accepted_ < connected_) {
            auto link = co_await listener_.accept();
            CHECK(link);
            if (!link) break;
            co_await greet(&*link);
        }
        clients_.clear();
    }
    std::string where_;
    Listener listener_;
    std::deque<Peer> clients_;
    unsigned connected_ = 0;
    unsigned accepted_ = 0;
    unsigned coming_ = 0;
    bool drain_ = false;
};

// serve ends by its cancel alone. What came meanwhile was served, or is there for the next serve.
class ServeContest final : public Contest {
public:
    ServeContest() { takes_limits = either_wins = false; }
    Task<> begin() override { listener_ = (co_await Listener::bind("127.0.0.1:0")).value(); }
    Task<> prepare(Random& random) override {
        coming_ = random.below(5);
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit) override {
        co_await listener_.serve(handler, &served_);
        co_return make_error_code(Errc::cancelled);
    }
    Task<> complete() override {
        for (; coming_ > 0; --coming_) {
            clients_.push_back(co_await connected_peer(listener_.address()));
            ++connected_;
        }
    }
    Task<> settle(std::error_code) override {
        clients_.clear();  // those that wait to be served included: a reset one is accepted all the same
        CHECK(served_ <= connected_);
        co_return;
    }
    Task<> end() override {
        while (served_ < connected_) {
            const auto link = co_await listener_.accept().within(5s);
            CHECK(link);
            if (!link) break;
            ++served_;
        }
        const auto none = co_await listener_.accept().within(0s);
        CHECK(none.error() == Errc::timed_out);
        listener_ = Listener();
    }

private:
    static Task<> handler(Link link, std::atomic<unsigned>* served) {
        ++*served;
        const auto chunk = co_await link.recv();
        CHECK(!chunk);
    }
    Listener listener_;
    std::deque<Peer> clients_;
    std::atomic<unsigned> served_{0};
    unsigned connected_ = 0;
    unsigned coming_ = 0;
};

// A Link that was said to be connected is one.
class ConnectContest final : public Contest {
public:
    explicit ConnectContest(std::string where) : where_(std::move(where)) { waits = either_wins = false; }
    Task<> begin() override {
        listening_ = plain::listen(Address::parse(where_).value(), 4096);
        address_ = plain::name_of(listening_);
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        auto made = co_await limited(Link::connect(address_), limit);
        if (made) link_ = std::move(*made);
        co_return made.error();
    }
    Task<> complete() override { co_return; }
    Task<> settle(std::error_code error) override {
        std::vector<Peer> accepted;
        co_await passes(misbehaves() ? 2'000 : 4);
        for (int fd = 0; (fd = plain::accept(listening_)) >= 0;) accepted.emplace_back(fd);
        if (error) co_return;
        // The only one that is open still.
        (co_await link_.send("x")).value();
        co_await passes(misbehaves() ? 2'000 : 0);
        unsigned heard = 0;
        for (const Peer& peer : accepted) {
            std::string text;
            if (peer.take(text, 2) == 1) ++heard;
        }
        CHECK(heard == 1);
        link_ = Link();
        co_await passes(1);
    }
    Task<> end() override {
        plain::close(listening_);
        co_return;
    }

private:
    std::string where_;
    Address address_;
    int listening_ = -1;
    Link link_;
};

// The listener's queue is full, so that the kernel hears nothing: each connect waits until it is ended.
class StuckConnectContest final : public Contest {
public:
    StuckConnectContest() {
        either_wins = completes = false;
        fewer = 4;
    }
    Task<> begin() override {
        listening_ = plain::listen(Address::parse("127.0.0.1:0").value(), 0);
        address_ = plain::name_of(listening_);
        for (bool full = false; !full;) {
            const std::size_t before = queued_.size();
            Scope scope;
            scope.spawn(join_queue, this);
            co_await passes(misbehaves() ? 2'000 : 20);
            scope.cancel();
            co_await scope.join();
            full = queued_.size() == before;
        }
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto made = co_await limited(Link::connect(address_), limit);
        CHECK(!made);
        co_return made.error();
    }
    Task<> complete() override { co_return; }
    Task<> end() override {
        queued_.clear();
        plain::close(listening_);
        co_return;
    }

private:
    static Task<> join_queue(StuckConnectContest* self) {
        auto link = co_await Link::connect(self->address_);
        if (link) self->queued_.push_back(std::move(*link));
    }
    Address address_;
    int listening_ = -1;
    std::vector<Link> queued_;
};

}  // namespace

TEST_CASE("a cancelled or late accept loses no connection") {
    contend<AcceptContest>("127.0.0.1:0");
    contend<AcceptContest>(unix_address());
}

TEST_CASE("a cancelled serve loses no connection") {
    contend<ServeContest>();
}

TEST_CASE("a cancelled or late connect yields a connection or leaves none") {
    contend<ConnectContest>("127.0.0.1:0");
    contend<ConnectContest>(unix_address());
}

TEST_CASE("a connect that nobody answers ends by cancel or limit") {
    contend<StuckConnectContest>();
}
