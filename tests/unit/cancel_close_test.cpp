// SPDX-License-Identifier: BSL-1.0
// How graceful closes end. One that succeeds has delivered all; one that does not has delivered no other bytes.
#include "tests/unit/contest.hpp"

#include <atomic>
#include <cerrno>

using namespace support;

namespace {

// The peer has sent what nobody receives; it ends once it has read to the end.
class GracefulCloseContest final : public Contest {
public:
    GracefulCloseContest() { fewer = 2; }
    Task<> begin() override { listener_ = (co_await Listener::bind("127.0.0.1:0")).value(); }
    Task<> prepare(Random& random) override {
        wired_ = co_await wired(listener_);
        reply_ = bytes_from(0, 1 + random.below(random.one_in(3) ? 400'000 : 2'000));
        co_await wired_.peer.send(bytes_from(7, random.below(2'000)));
        got_.clear();
        if (random.one_in(2)) {
            std::array<std::byte, 100> some{};
            auto taken = co_await wired_.link.recv(some).within(0s);
            CHECK((taken || taken.error() == Errc::timed_out));
        }
        CHECK(wired_.link.outbox().post(Payload(reply_)) == Posted::queued);
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const bool ended = co_await wired_.link.close_gracefully(limit.value_or(1h));
        CHECK(wired_.link.peer().error() == Errc::closed);
        if (ended) co_return std::error_code();
        co_return make_error_code(limit ? Errc::timed_out : Errc::cancelled);
    }
    Task<> complete() override {
        for (;;) {
            const long got = wired_.peer.take(got_, 1 << 20);
            if (got == 0) wired_.peer.shutdown_write();
            if (got == 0 || (got < 0 && errno != EAGAIN)) break;
            if (got < 0) co_await yield();
        }
    }
    Task<> settle(std::error_code error) override {
        CHECK(got_ == std::string_view(reply_).substr(0, got_.size()));
        if (!error) CHECK(got_.size() == reply_.size());
        wired_ = Wired();
        co_return;
    }
    Task<> end() override {
        listener_ = Listener();
        co_return;
    }

private:
    Listener listener_;
    Wired wired_;
    std::string reply_;
    std::string got_;
};

}  // namespace

TEST_CASE("a graceful close that is cancelled or late is over, and says whether the peer has ended") {
    contend<GracefulCloseContest>();
}
