// SPDX-License-Identifier: BSL-1.0
// LinkTable: ids that go stale instead of wrong, broadcasts, and Links that come and go meanwhile.
#include "tests/unit/contest.hpp"
#include "tests/unit/support.hpp"

#include <array>
#include <atomic>
#include <vector>

using namespace support;

namespace {

RuntimeOptions four_workers() {
    RuntimeOptions options = one_worker();
    options.workers = 4;
    return options;
}

Task<> drain(Link* link) {
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) break;
    }
}

}  // namespace

TEST_CASE("an id finds its Link until that is removed, and never another one") {
    in_runtime([]() -> Task<> {
        LinkTable table;
        std::vector<Pair> pairs;
        std::vector<LinkId> ids;
        for (int link = 0; link < 40; ++link) {
            pairs.push_back(co_await connected());
            ids.push_back(table.add(pairs.back().near));
        }
        CHECK(table.size() == 40);
        CHECK(!table.find(LinkId()));
        CHECK(!table.find(LinkId::from_value(~std::uint64_t{0})));
        for (std::size_t link = 0; link < ids.size(); ++link) {
            CHECK(LinkId::from_value(ids[link].value()) == ids[link]);
            CHECK(table.find(ids[link]).post(Payload(std::to_string(link) + "\n")) == Posted::queued);
            CHECK((co_await pairs[link].far.recv_until("\n", 10)).value() == std::to_string(link));
        }
        const LinkId first = ids[0];
        CHECK(table.remove(first));
        CHECK(!table.remove(first));
        CHECK(!table.find(first));
        std::vector<LinkId> later;
        for (int link = 0; link < 100; ++link) {
            later.push_back(table.add(pairs[0].near.outbox()));
            CHECK(!table.find(first));
            CHECK(!table.remove(first));
            CHECK(table.remove(later.back()));
            CHECK(later.back() != first);
        }
        for (const LinkId id : later) CHECK(!table.contains(id));
        CHECK(table.size() == 39);
    });
}

TEST_CASE("a Link that has ended is found until it is removed, and says closed") {
    in_runtime([]() -> Task<> {
        LinkTable table;
        auto pair = co_await connected();
        const LinkId id = table.add(pair.near);
        co_await pair.near.close();
        CHECK(table.find(id).post(Payload(std::string("late"))) == Posted::closed);
        CHECK(table.post_all(Payload(std::string("late"))) == 0);
        pair.near = Link();
        CHECK(table.find(id).post(Payload(std::string("late"))) == Posted::closed);
        CHECK(table.remove(id));
        CHECK(!table.find(id));
    });
}

TEST_CASE("post_all reaches every Link but one, with one buffer") {
    in_runtime([]() -> Task<> {
        LinkTable table;
        std::vector<Pair> pairs;
        std::vector<LinkId> ids;
        for (int link = 0; link < 50; ++link) {
            pairs.push_back(co_await connected());
            ids.push_back(table.add(pairs.back().near));
        }
        const Payload payload(std::string(1000, 'b'));
        CHECK(table.post_all(payload, ids[7]) == 49);
        CHECK(payload.shared_by() == 50);
        std::array<std::byte, 1000> got{};
        for (std::size_t link = 0; link < pairs.size(); ++link)
            if (link != 7) (co_await pairs[link].far.recv_exact(got)).value();
        CHECK(table.find(ids[7]).queued() == 0);
        CHECK((co_await pairs[7].far.recv().within(1ms)).error() == Errc::timed_out);
    });
}

TEST_CASE("two broadcasts reach all Links in one order") {
    in_runtime_with(four_workers(), []() -> Task<> {
        constexpr unsigned each = 300;
        constexpr std::size_t receivers = 24;
        LinkTable table;
        std::vector<Pair> pairs;
        for (std::size_t link = 0; link < receivers; ++link) {
            pairs.push_back(co_await connected());
            table.add(pairs.back().near);
        }
        Scope scope;
        for (unsigned worker = 0; worker < 4; ++worker)
            scope.spawn_on(
                worker,
                [](const LinkTable* to, unsigned from) -> Task<> {
                    for (unsigned number = 0; number < each; ++number) {
                        to->post_all(Payload(std::string(1, static_cast<char>('a' + from))));
                        co_await yield();
                    }
                },
                &table, worker);
        co_await scope.join();
        std::string first(4 * each, '\0');
        (co_await pairs[0].far.recv_exact(std::as_writable_bytes(std::span(first)))).value();
        for (std::size_t link = 1; link < receivers; ++link) {
            std::string other(4 * each, '\0');
            (co_await pairs[link].far.recv_exact(std::as_writable_bytes(std::span(other)))).value();
            CHECK(other == first);
        }
    });
}

TEST_CASE("for_each_on_home calls once for each Link, on its worker") {
    in_runtime_with(four_workers(), []() -> Task<> {
        LinkTable table;
        std::atomic<unsigned> calls{0};
        std::atomic<unsigned> elsewhere{0};
        std::array<std::vector<Pair>, 4> pairs;
        Scope scope;
        for (unsigned worker = 0; worker < 4; ++worker)
            scope.spawn_on(
                worker,
                [](LinkTable* to, std::vector<Pair>* into) -> Task<> {
                    for (int link = 0; link < 10; ++link) {
                        into->push_back(co_await connected());
                        to->add(into->back().near);
                    }
                },
                &table, &pairs[worker]);
        co_await scope.join();
        co_await table.for_each_on_home(
            [](LinkId id, const Outbox& outbox, std::atomic<unsigned>* count, std::atomic<unsigned>* wrong) {
                if (outbox.home() != Runtime::current_worker() || !id) ++*wrong;
                ++*count;
                outbox.post(Payload(std::string("x")));
            },
            &calls, &elsewhere);
        CHECK(calls == 40);
        CHECK(elsewhere == 0);
        for (auto& of_worker : pairs)
            for (Pair& pair : of_worker) CHECK((co_await pair.far.recv()).value().to_string() == "x");
    });
}

namespace {

// What the racing tasks share. Ids are plain numbers in atomics, so that anybody may use anybody's.
struct Storm {
    LinkTable table;
    std::array<std::atomic<std::uint64_t>, 8> ids{};
    std::atomic<unsigned> ended{0};
    std::atomic<unsigned> posted{0};
};

// A Link that lives for one round, in the table, and ends at a moment and in a manner that the dice say, while others
// find it, post to it, wait for it, and remove it.
Task<> live(Storm* storm, unsigned number, std::string address, std::uint64_t seed, unsigned rounds_left) {
    Random random(seed);
    auto listener = (co_await Listener::bind(address)).value();
    for (; rounds_left > 0; --rounds_left) {
        Pair pair;
        pair.near = (co_await Link::connect(listener.address())).value();
        pair.far = (co_await listener.accept()).value();
        OutboxOptions options;
        options.high_water = 1 + random.below(40'000);
        options.slow_receiver = static_cast<SlowReceiver>(random.below(4));
        const LinkId id = storm->table.add(pair.near, options);
        storm->ids[number] = id.value();  // it stays there for a while after its end
        Scope scope;
        const bool reads = random.one_in(2);
        if (reads) scope.spawn(drain, &pair.far);
        scope.spawn(
            [](Outbox box) -> Task<> {
                const auto drained = co_await box.drained().within(1ms);
                (void)drained.error();
                const auto sent = co_await box.send(Payload(std::string(30'000, 'w'))).within(1ms);
                (void)sent.error();
            },
            storm->table.find(id));
        for (unsigned yields = random.below(60); yields > 0; --yields) co_await yield();
        const unsigned manner = random.below(5);
        if (manner == 0) storm->table.remove(id);
        if (manner == 1) pair.near.abort();
        if (manner == 2) co_await pair.near.close().within(100us);
        if (manner == 3) pair.near = Link();
        if (manner == 4) pair.far.abort();
        for (unsigned yields = random.below(4); yields > 0; --yields) co_await yield();
        storm->table.remove(id);
        pair.far.abort();
        if (pair.near) pair.near.abort();
        co_await scope.join();
        ++storm->ended;
    }
}

Task<> harass(Storm* storm, std::uint64_t seed, std::atomic<bool>* stop) {
    Random random(seed);
    const Payload payload(std::string(8'000, 'h'));
    while (!*stop) {
        const LinkId id = LinkId::from_value(storm->ids[random.below(8)]);
        switch (random.below(6)) {
            case 0:
                storm->table.post_all(payload, id);
                break;
            case 1:
                storm->table.remove(id);
                break;
            case 2: {
                const Outbox found = storm->table.find(id);
                const auto sent = co_await found.send(payload).within(50us);
                if (sent) ++storm->posted;
                break;
            }
            case 3: {
                const auto drained = co_await storm->table.find(id).drained().within(50us);
                (void)drained.error();
                break;
            }
            default: {
                const Outbox found = storm->table.find(id);
                if (found.post(payload) == Posted::queued) ++storm->posted;
                break;
            }
        }
        co_await yield();
    }
}

}  // namespace

TEST_CASE("Links end at any moment, on four workers, while others find them, post, wait and remove") {
    Storm storm;
    in_runtime_with(
        four_workers(),
        [](Storm* shared) -> Task<> {
            const unsigned each = std::max(20U, rounds() / 20);
            std::atomic<bool> stop{false};
            Scope harassing;
            Scope living;
            for (unsigned task = 0; task < 8; ++task) {
                living.spawn_on(task % 4, live, shared, task, unix_address(), seed() + task, each);
                harassing.spawn_on(task % 4, harass, shared, seed() + 100 + task, &stop);
            }
            co_await living.join();
            stop = true;
            co_await harassing.join();
            CHECK(shared->ended == 8 * each);
            CHECK(shared->table.size() == 0);
            MESSAGE("Links: " << shared->ended.load() << ", messages queued by others: " << shared->posted.load());
        },
        &storm);
}
