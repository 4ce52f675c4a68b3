// SPDX-License-Identifier: BSL-1.0
// PeerLimits: a TokenBucket for each peer, so that one of them cannot use up what is there for all. Peers are told
// apart by what a network gives to one customer: an IPv4 address, an IPv6 /64 (RFC 6177); IPv4-mapped IPv6 is IPv4. All
// peers on unix sockets are one.
//
// - of(address) yields the peer's bucket, always the same while somebody holds it or it is not full. Hold it as long as
//   the connection, and take from it.
// - Bounded: at most `most_peers` are remembered. A bucket that nobody holds and that is full is as good as a new one
//   and is forgotten when room is wanted, and little by little otherwise. When all are in use, further peers share one
//   bucket.
// - Any thread. A mutex is held for a look-up. of() may throw std::bad_alloc.
//
//     PeerLimits requests(Rate{100, 20});                      // made before the handlers, gone after them
//     const auto mine = requests.of((co_await ...).value());   // in each
//     if (!mine->try_take()) ...
#pragma once

#include <chainring/address.hpp>
#include <chainring/config.hpp>
#include <chainring/token_bucket.hpp>

#include <cstddef>
#include <memory>

CHAINRING_BEGIN_NAMESPACE

class PeerLimits {
public:
    // `each`: the rate of one peer; see TokenBucket. `most_peers`: at least 1, at some 200 bytes each.
    explicit PeerLimits(Rate each, std::size_t most_peers = 65536);
    PeerLimits(const PeerLimits&) = delete;
    PeerLimits& operator=(const PeerLimits&) = delete;
    ~PeerLimits();

    std::shared_ptr<TokenBucket> of(const Address& peer);

    std::size_t peers() const noexcept;  // that are remembered

private:
    struct Table;
    std::unique_ptr<Table> table_;
};

CHAINRING_END_NAMESPACE
