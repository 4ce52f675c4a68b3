// SPDX-License-Identifier: BSL-1.0
// PeerLimits: who shares a bucket, who is forgotten, and how little an enemy with many addresses can do.
#include "net/src/peer_key.hpp"
#include "tests/unit/support.hpp"

#include <algorithm>
#include <memory>
#include <vector>

using namespace support;

namespace {

Address at(std::string_view text) {
    return Address::parse(text).value();
}

Address numbered(unsigned number) {
    return at("10." + std::to_string(number >> 16) + "." + std::to_string(number >> 8 & 255) + "." +
              std::to_string(number & 255) + ":1");
}

}  // namespace

TEST_CASE("peers are told apart by IPv4 address or IPv6 /64, not by port") {
    PeerLimits limits(Rate{1, 1});
    CHECK(limits.of(at("192.0.2.1:1")) == limits.of(at("192.0.2.1:65535")));
    CHECK(limits.of(at("192.0.2.1:1")) != limits.of(at("192.0.2.2:1")));
    CHECK(limits.of(at("192.0.2.1:1")) == limits.of(at("[::ffff:192.0.2.1]:5")));
    CHECK(limits.of(at("[2001:db8:1:2::1]:1")) == limits.of(at("[2001:db8:1:2:ffff::9]:7")));
    CHECK(limits.of(at("[2001:db8:1:2::1]:1")) != limits.of(at("[2001:db8:1:3::1]:1")));
    CHECK(limits.of(at("unix:@one")) == limits.of(at("unix:@two")));
}

TEST_CASE("the hash of peers spreads neighbours evenly, and is the same in every process") {
    for (const std::size_t workers : {2U, 3U, 4U, 7U, 8U, 16U}) {
        CAPTURE(workers);
        for (const unsigned stride : {1U, 256U}) {  // of one network, and of neighbouring ones
            std::vector<unsigned> counts(workers);
            for (unsigned number = 0; number < 4096; ++number)
                ++counts[detail::PeerKey::of(numbered(number * stride)).hash() % workers];
            CHECK(std::ranges::max(counts) < 4096 / workers * 13 / 10);
            CHECK(std::ranges::min(counts) > 4096 / workers * 7 / 10);
        }
    }
    CHECK(detail::PeerKey::of(at("192.0.2.1:1")).hash() == detail::PeerKey::of(at("[::ffff:192.0.2.1]:5")).hash());
}

TEST_CASE("what a peer has used stays used while its bucket is not full, held or not") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            PeerLimits limits(Rate{1, 10}, 2);
            CHECK(limits.of(numbered(1))->try_take(10));
            const auto held = limits.of(numbered(2));
            time->advance(5s);
            CHECK(limits.of(numbered(1))->available() == 5);
            CHECK(limits.peers() == 2);
            // Neither may be forgotten: further peers share one bucket.
            const auto third = limits.of(numbered(3));
            CHECK(third == limits.of(numbered(4)));
            CHECK(third->try_take(10));
            CHECK(!limits.of(numbered(5))->try_take());
            CHECK(limits.peers() == 2);
            time->advance(5s);
            CHECK(limits.of(numbered(6))->try_take(10));  // in the place of the first, which is full again
            CHECK(limits.of(numbered(2)) == held);
            CHECK(limits.peers() == 2);
            co_return;
        },
        &clock);
}

TEST_CASE("a table that many peers have filled empties itself while somebody asks, and is bounded always") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            PeerLimits limits(Rate{10, 10}, 1000);
            for (unsigned peer = 0; peer < 5000; ++peer) {
                CHECK(limits.of(numbered(peer))->try_take() == (peer < 1010));  // the last ten from the shared bucket
                CHECK(limits.peers() <= 1000);
            }
            CHECK(limits.peers() == 1000);
            time->advance(1s);
            for (int asked = 0; asked < 1000; ++asked) CHECK(limits.of(numbered(7))->try_take(0));
            CHECK(limits.peers() == 1);
            co_return;
        },
        &clock);
}

TEST_CASE("a bucket that somebody waits in outlives its place in the table, and the table") {
    in_runtime([]() -> Task<> {
        auto limits = std::make_unique<PeerLimits>(Rate{100, 1}, 1);
        const auto mine = limits->of(numbered(1));
        CHECK(mine->try_take());
        limits.reset();
        auto taken = co_await mine->take();
        CHECK(taken);
    });
}
