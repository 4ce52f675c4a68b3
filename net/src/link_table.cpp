// SPDX-License-Identifier: BSL-1.0
#include <chainring/link.hpp>
#include <chainring/link_table.hpp>
#include <chainring/runtime.hpp>
#include <chainring/trap.hpp>

#include <algorithm>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

const LinkTable::Place* LinkTable::lookup(LinkId id) const noexcept {
    const std::vector<Place>& places = shard_of(id).places;
    const std::size_t at = id.index() / shards;
    if (at >= places.size() || places[at].generation != id.generation() || !places[at].outbox) return nullptr;
    return &places[at];
}

LinkId LinkTable::add(Outbox outbox) {
    CHAINRING_REQUIRE(outbox, "an empty Outbox was added to a LinkTable");
    const std::uint32_t number = next_shard_.fetch_add(1, std::memory_order_relaxed) % shards;
    Shard& shard = shards_[number];
    const std::lock_guard turn(broadcast_);  // a broadcast that has begun is not for the newcomer
    const std::lock_guard lock(shard.mutex);
    std::size_t at = shard.first_free;
    if (at == no_place) {
        at = shard.places.size();
        shard.places.emplace_back();
    } else {
        shard.first_free = shard.places[at].next_free;
    }
    Place& place = shard.places[at];
    place.outbox = std::move(outbox);
    size_.fetch_add(1, std::memory_order_relaxed);
    return id_of(number, at, place.generation);
}

LinkId LinkTable::add(Link& link, const OutboxOptions& options) {
    return add(link.outbox(options));
}

Outbox LinkTable::find(LinkId id) const noexcept {
    const std::lock_guard lock(shard_of(id).mutex);
    const Place* place = lookup(id);
    return place ? place->outbox : Outbox();
}

bool LinkTable::contains(LinkId id) const noexcept {
    const std::lock_guard lock(shard_of(id).mutex);
    return lookup(id) != nullptr;
}

bool LinkTable::remove(LinkId id) noexcept {
    Outbox removed;  // goes when the mutex is free
    Shard& shard = shards_[id.index() % shards];
    const std::lock_guard lock(shard.mutex);
    if (!lookup(id)) return false;
    const std::uint32_t at = id.index() / shards;
    Place& place = shard.places[at];
    std::swap(removed, place.outbox);
    size_.fetch_sub(1, std::memory_order_relaxed);
    if (++place.generation == 0) return true;  // every generation was used: given up
    place.next_free = std::exchange(shard.first_free, at);
    return true;
}

std::size_t LinkTable::size() const noexcept {
    return size_.load(std::memory_order_relaxed);
}

// visit_place(id, outbox) with the shard's mutex held.
template <class Visit>
void LinkTable::for_each(Visit&& visit_place) const {
    for (std::uint32_t number = 0; number < shards; ++number) {
        const Shard& shard = shards_[number];
        for (std::size_t at = 0, end = 0;;) {
            const std::lock_guard lock(shard.mutex);
            end = std::min(at + posts_in_one_hold, shard.places.size());
            if (at >= end) break;
            for (; at < end; ++at)
                if (const Place& place = shard.places[at]; place.outbox)
                    visit_place(id_of(number, at, place.generation), place.outbox);
        }
    }
}

std::size_t LinkTable::post_all(const Payload& payload, LinkId except) const {
    std::size_t taken = 0;
    const std::lock_guard turn(broadcast_);
    for_each([&](LinkId id, const Outbox& outbox) {
        if (id == except) return;
        const Posted posted = outbox.post(payload);
        taken += posted == Posted::queued || posted == Posted::dropped_older;
    });
    return taken;
}

std::vector<std::vector<LinkTable::Member>> LinkTable::members_by_home() const {
    std::vector<std::vector<Member>> homes(Runtime::current().workers());
    // A Link of another Runtime is at home on none of these, and may be posted to from any.
    for_each([&](LinkId id, const Outbox& outbox) {
        homes[outbox.home() % homes.size()].push_back(Member{id, outbox});
    });
    return homes;
}

CHAINRING_END_NAMESPACE
