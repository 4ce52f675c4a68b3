// SPDX-License-Identifier: BSL-1.0
// The table is a hash map and a list in the order of the last use. Whoever asks looks at the oldest two entries and
// forgets those that are idle, so that a table that has grown shrinks again as long as anybody asks.
#include <chainring/peer_limits.hpp>
#include <chainring/trap.hpp>

#include "net/src/peer_key.hpp"

#include <cstdint>
#include <cstring>
#include <list>
#include <mutex>
#include <netinet/in.h>
#include <unordered_map>

CHAINRING_BEGIN_NAMESPACE

namespace detail {

PeerKey PeerKey::of(const Address& peer) noexcept {
    PeerKey key;
    key.family = peer.family();
    if (key.family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, peer.data(), sizeof v4);
        key.bits = v4.sin_addr.s_addr;
    } else if (key.family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, peer.data(), sizeof v6);
        if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
            std::uint32_t mapped = 0;
            std::memcpy(&mapped, v6.sin6_addr.s6_addr + 12, sizeof mapped);
            key.family = AF_INET;
            key.bits = mapped;
        } else {
            std::memcpy(&key.bits, v6.sin6_addr.s6_addr, sizeof key.bits);
        }
    }
    return key;
}

}  // namespace detail

namespace {

using detail::PeerKey;

struct PeerHash {
    std::size_t operator()(const PeerKey& key) const noexcept { return key.hash(); }
};

}  // namespace

struct PeerLimits::Table {
    struct Entry {
        PeerKey key;
        std::shared_ptr<TokenBucket> bucket;
    };
    using Order = std::list<Entry>;

    Table(Rate each, std::size_t most) : rate(each), most_peers(most), shared(std::make_shared<TokenBucket>(each)) {}

    // Handles are given out under the mutex only, so one that nobody else holds stays so.
    static bool forgettable(const Entry& entry) noexcept {
        return entry.bucket.use_count() == 1 && entry.bucket->idle();
    }
    void forget_idle() noexcept {
        for (int looks = 0; looks < 2 && !order.empty(); ++looks) {
            const auto oldest = std::prev(order.end());
            if (forgettable(*oldest)) {
                places.erase(oldest->key);
                order.erase(oldest);
            } else if (order.size() == most_peers) {
                order.splice(order.begin(), order, oldest);  // another one's turn next time
            }
        }
    }

    mutable std::mutex mutex;  // guards what follows
    const Rate rate;
    const std::size_t most_peers;
    Order order;  // the latest first
    std::unordered_map<PeerKey, Order::iterator, PeerHash> places;
    const std::shared_ptr<TokenBucket> shared;
};

PeerLimits::PeerLimits(Rate each, std::size_t most_peers) {
    CHAINRING_REQUIRE(most_peers > 0, "PeerLimits has room for one peer at least");
    table_ = std::make_unique<Table>(each, most_peers);
}

PeerLimits::~PeerLimits() = default;

std::shared_ptr<TokenBucket> PeerLimits::of(const Address& peer) {
    const PeerKey key = PeerKey::of(peer);
    Table& table = *table_;
    const std::lock_guard lock(table.mutex);
    if (const auto known = table.places.find(key); known != table.places.end()) {
        table.order.splice(table.order.begin(), table.order, known->second);
        std::shared_ptr<TokenBucket> bucket = known->second->bucket;  // held from here on: it is not forgotten
        table.forget_idle();
        return bucket;
    }
    table.forget_idle();
    if (table.order.size() >= table.most_peers) return table.shared;
    auto bucket = std::make_shared<TokenBucket>(table.rate);
    table.order.push_front({key, bucket});
    try {
        table.places.emplace(key, table.order.begin());
    } catch (...) {
        table.order.pop_front();
        throw;
    }
    return bucket;
}

std::size_t PeerLimits::peers() const noexcept {
    const std::lock_guard lock(table_->mutex);
    return table_->order.size();
}

CHAINRING_END_NAMESPACE
