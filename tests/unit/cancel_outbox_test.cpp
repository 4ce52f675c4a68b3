// SPDX-License-Identifier: BSL-1.0
// How waits for an Outbox end: a message that was said to be queued arrives, once and in its place, and no other does.
#include "tests/unit/contest.hpp"

using namespace support;

namespace {

// The Outbox is full with a message that the socket has no room for, until the peer reads.
class OutboxContest : public Contest {
public:
    OutboxContest() { fewer = 10; }
    Task<> begin() override {
        auto listener = (co_await Listener::bind(unix_address())).value();
        wired_ = co_await wired(listener);
        OutboxOptions options;
        options.high_water = 1;
        options.low_water = 0;
        options.slow_receiver = SlowReceiver::wait;
        outbox_ = wired_.link.outbox(options);
    }
    Task<> prepare(Random&) override {
        got_.clear();
        expected_ = bytes_from(round_ * 1000, 600'000);
        ++round_;
        CHECK(outbox_.post(Payload(expected_)) == Posted::queued);
        co_await passes(2);
    }
    Task<> complete() override {
        while (got_.size() < expected_.size()) {
            if (wired_.peer.take(got_, 1 << 20) < 0) co_await yield();
        }
    }
    Task<> settle(std::error_code) override {
        while (got_.size() < expected_.size() || outbox_.queued() > 0)
            if (wired_.peer.take(got_, 1 << 20) < 0) co_await yield();
        while (wired_.peer.take(got_, 1 << 20) > 0) {
        }
        CHECK(got_ == expected_);
    }
    Task<> end() override {
        outbox_ = Outbox();
        wired_ = Wired();
        co_return;
    }

protected:
    Wired wired_;
    Outbox outbox_;
    std::string expected_;
    std::string got_;
    std::uint64_t round_ = 0;
};

class OutboxSendContest final : public OutboxContest {
public:
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto sent = co_await limited(outbox_.send(Payload(std::string("the message"))), limit);
        co_return sent.error();
    }
    Task<> settle(std::error_code error) override {
        if (!error) expected_ += "the message";
        return OutboxContest::settle(error);
    }
};

class DrainContest final : public OutboxContest {
public:
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto drained = co_await limited(outbox_.drained(), limit);
        if (drained) CHECK(outbox_.queued() == 0);
        co_return drained.error();
    }
};

}  // namespace

TEST_CASE("a cancelled or late Outbox send has queued its message, or has not, as it says") {
    contend<OutboxSendContest>();
}

TEST_CASE("a wait for an Outbox to drain ends by the last byte, cancel or limit, and says which") {
    contend<DrainContest>();
}
