// SPDX-License-Identifier: BSL-1.0
// LinkTable: Links by number, for whoever has to find one (a game's player, a subscriber) or to reach all. It holds an
// Outbox of each, so a Link that has ended is told apart (`closed`) and none is used after its end.
//
// A LinkId is a place in the table and the generation of that place, in 64 bits. A place is used again with the next
// generation: an id whose Link was removed finds nothing, for ever, however many came after it. (A place that has had
// 2^32 Links is given up.)
//
// Threads: every function, any thread that may use an Outbox, at any time, whatever the Links do meanwhile. Who adds a
// Link removes it when its task ends: removing is idempotent, and stops no send that is under way.
//
// Locks. The places are spread over 16 shards with a mutex each, which is held for one place, or for at most 256 posts:
// so leaving and finding wait for no broadcast. Broadcasts take turns, and those who join with them: two broadcasts
// reach every Link in the same order, and one that has begun is not for the newcomer, who waits for its end.
//
//     const LinkId id = table.add(link.outbox(1 << 20));
//     table.post_all(Payload("* somebody has come\n"), id);
//     if (Outbox found = table.find(id)) found.post(news);
#pragma once

#include <chainring/config.hpp>
#include <chainring/outbox.hpp>
#include <chainring/payload.hpp>
#include <chainring/scope.hpp>
#include <chainring/task.hpp>

#include <array>
#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

class Link;

class LinkId {
public:
    constexpr LinkId() noexcept = default;  // nobody's
    // As a number, for logs and protocols, and back; any other number finds nothing.
    static constexpr LinkId from_value(std::uint64_t value) noexcept {
        LinkId id;
        id.value_ = value;
        return id;
    }
    constexpr std::uint64_t value() const noexcept { return value_; }
    constexpr explicit operator bool() const noexcept { return value_ != 0; }
    friend constexpr auto operator<=>(LinkId, LinkId) noexcept = default;

private:
    friend class LinkTable;
    constexpr LinkId(std::uint32_t index, std::uint32_t generation) noexcept
        : value_(std::uint64_t{generation} << 32 | index) {}
    constexpr std::uint32_t index() const noexcept { return static_cast<std::uint32_t>(value_); }
    constexpr std::uint32_t generation() const noexcept { return static_cast<std::uint32_t>(value_ >> 32); }
    std::uint64_t value_ = 0;  // the generation above the index; generations begin with 1
};
static_assert(sizeof(LinkId) == 8 && std::is_trivially_copyable_v<LinkId>);

class LinkTable {
public:
    LinkTable() = default;
    LinkTable(const LinkTable&) = delete;
    LinkTable& operator=(const LinkTable&) = delete;

    // Throws std::bad_alloc; then nothing was added. The same Link may be in it more than once, and in several tables.
    LinkId add(Outbox outbox);
    LinkId add(Link& link, const OutboxOptions& options = {});  // by the Link's owner; as link.outbox(options)

    // Empty when the Link was removed, or never was there. One that has ended and was not removed is found, and says
    // `closed`.
    Outbox find(LinkId id) const noexcept;
    bool contains(LinkId id) const noexcept;
    // False: it was not there any more.
    bool remove(LinkId id) noexcept;
    std::size_t size() const noexcept;  // a snapshot

    // Posts the payload to every Link but `except`; one that goes meanwhile may get it or not. Says how many
    // have taken it: see Outbox::post for what becomes of slow receivers. Throws std::bad_alloc; then some may have it.
    std::size_t post_all(const Payload& payload, LinkId except = LinkId()) const;

    // Calls fn(LinkId, const Outbox&, args...) for each Link that is there when it begins and still there when its turn
    // comes, on the Link's home worker, where a post costs least; Links of one worker one after the other, workers side
    // by side. Completes when all calls have returned; an exception from fn, or a cancel, ends it early. By a task. fn
    // must be trivially destructible (a function, a lambda without owning captures): pass state as arguments, which are
    // copied for each worker. It does not suspend.
    //
    //     co_await table.for_each_on_home([](LinkId, const Outbox& outbox, Payload news) { outbox.post(news); }, news);
    template <class Fn, class... Args>
    Task<> for_each_on_home(Fn fn, Args... args) const {
        static_assert(std::is_trivially_destructible_v<Fn>,
                      "for_each_on_home takes a function or a lambda without owning captures; pass state as arguments");
        std::vector<std::vector<Member>> homes = members_by_home();
        Scope scope;
        scope.spawn_all([&] {
            for (unsigned worker = 0; worker < homes.size(); ++worker)
                if (!homes[worker].empty())
                    scope.spawn_on(worker, visit<Fn, Args...>, this, std::move(homes[worker]), fn, args...);
        });
        co_await scope.join();
    }

private:
    struct Member {
        LinkId id;
        Outbox outbox;
    };
    struct Place {
        Outbox outbox;  // empty: the place is free
        std::uint32_t generation = 1;
        std::uint32_t next_free = 0;
    };
    struct alignas(64) Shard {
        mutable std::mutex mutex;  // guards the rest
        std::vector<Place> places;
        std::uint32_t first_free = no_place;
    };
    static constexpr std::uint32_t no_place = ~std::uint32_t{0};
    static constexpr std::uint32_t shards = 16;
    static constexpr std::size_t posts_in_one_hold = 256;

    template <class Fn, class... Args>
    static Task<> visit(const LinkTable* table, std::vector<Member> members, Fn fn, Args... args) {
        for (std::size_t at = 0; at < members.size(); ++at) {
            if (table->contains(members[at].id)) fn(members[at].id, members[at].outbox, args...);
            if (at % posts_in_one_hold == posts_in_one_hold - 1) {
                const bool go_on = co_await yield();
                if (!go_on) break;
            }
        }
    }

    std::vector<std::vector<Member>> members_by_home() const;
    template <class Visit>
    void for_each(Visit&& visit_place) const;
    static LinkId id_of(std::uint32_t shard, std::size_t place, std::uint32_t generation) noexcept {
        return LinkId(static_cast<std::uint32_t>(place) * shards + shard, generation);
    }
    const Place* lookup(LinkId id) const noexcept;  // with the shard's mutex held
    const Shard& shard_of(LinkId id) const noexcept { return shards_[id.index() % shards]; }

    std::array<Shard, shards> shards_;
    std::atomic<std::uint32_t> next_shard_{0};  // where the next Link goes; any thread, a hint
    std::atomic<std::size_t> size_{0};
    mutable std::mutex broadcast_;  // held by post_all, and by add; before a shard's
};

CHAINRING_END_NAMESPACE
