// SPDX-License-Identifier: BSL-1.0
// Very many waits that end at once: cancelled sleeps, receives that are late, Links that are closed with their receives
// armed, on the smallest ring, so that neither queue of it has room for all of them.
#include "tests/unit/contest.hpp"

#include <sys/resource.h>
#include <vector>

using namespace support;

namespace {

RuntimeOptions smallest_ring() {
    RuntimeOptions options = one_worker();
    options.ring_entries = 32;
    return options;
}

Task<> sleep_long(unsigned* cancelled) {
    const bool whole = co_await sleep_for(1h);
    if (!whole) ++*cancelled;
}

// Connected Links without the other side's being Links: `count` of them, with the plain sockets. Unix sockets: there
// are not as many TCP ports to be had in a short time.
struct Many {
    Many() noexcept = default;
    std::vector<Link> links;
    std::vector<Peer> peers;
};

Task<Many> many(unsigned count) {
    auto listener = (co_await Listener::bind(unix_address())).value();
    Many all;
    for (unsigned number = 0; number < count; ++number) {
        Wired both = co_await wired(listener);
        all.links.push_back(std::move(both.link));
        all.peers.push_back(std::move(both.peer));
    }
    co_return all;
}

// As many as there are descriptors for, up to 10,000: two for each.
unsigned how_many() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    const auto room = std::min<rlim_t>(limit.rlim_cur, 20'200) - 200;
    return static_cast<unsigned>(room / 2);
}

struct Tally {
    unsigned timed_out = 0;
    unsigned closed = 0;
    unsigned received = 0;
    unsigned other = 0;
};

Task<> receive(Link* link, MaybeLimit limit, Tally* tally) {
    const auto chunk = co_await limited(link->recv(), limit);
    if (chunk)
        ++tally->received;
    else if (chunk.error() == Errc::timed_out)
        ++tally->timed_out;
    else if (chunk.error() == Errc::closed)
        ++tally->closed;
    else
        ++tally->other;
}

Task<> close_it(Link* link) {
    co_await link->close();
}

Task<> late_receives(ManualClock* clock, unsigned count) {
    const Balance before = Balance::now();
    Many all = co_await many(count);
    Tally tally;
    Scope scope;
    for (Link& link : all.links) scope.spawn(receive, &link, MaybeLimit(1s), &tally);
    co_await passes(count / 16);
    CHECK(scope.size() == count);
    const std::uint64_t parks = metrics().parks;
    clock->advance(1s);
    co_await scope.join();
    CHECK(tally.timed_out == count);
    CHECK(metrics().parks - parks <= 1);
    // Nothing was lost: each Link receives on.
    for (const Peer& peer : all.peers) co_await peer.send("x");
    Scope again;
    for (Link& link : all.links) again.spawn(receive, &link, MaybeLimit(), &tally);
    co_await again.join();
    CHECK(tally.received == count);
    all = Many();
    co_await restored(before);
}

// In one pass, each with a receive that waits: every third is aborted, every third closed, every third dropped.
Task<> many_ends(unsigned count) {
    const Balance before = Balance::now();
    Many all = co_await many(count);
    Tally tally;
    Scope readers;
    for (Link& link : all.links) readers.spawn(receive, &link, MaybeLimit(), &tally);
    co_await passes(count / 16);
    CHECK(readers.size() == count);
    Scope closers;
    const std::uint64_t pass = metrics().passes;
    for (unsigned number = 0; number < count; ++number) {
        Link& link = all.links[number];
        switch (number % 3) {
            case 0:
                link.abort();
                break;
            case 1:
                closers.spawn(close_it, &link);
                break;
            default:
                link = Link();
        }
    }
    CHECK(metrics().passes == pass);
    co_await closers.join();
    co_await readers.join();
    CHECK(tally.closed == count);
    all.links.clear();
    for (const Peer& peer : all.peers) {
        std::string nothing;
        CHECK(peer.take(nothing, 1) == 0);
    }
    all = Many();
    co_await restored(before);
}

// The receives are armed and cancelled before the ring has seen most of them.
Task<> ends_before_they_begin(unsigned count) {
    const Balance before = Balance::now();
    Many all = co_await many(count);
    Tally tally;
    Scope readers;
    for (Link& link : all.links) readers.spawn(receive, &link, MaybeLimit(), &tally);
    co_await yield();
    for (Link& link : all.links) link.abort();
    co_await readers.join();
    CHECK(tally.closed == count);
    all = Many();
    co_await restored(before);
}

}  // namespace

TEST_CASE("a hundred thousand sleeps that are cancelled together end without a look at the kernel in between" *
          not_misbehaving()) {
    in_runtime([]() -> Task<> {
        constexpr unsigned count = 100'000;
        unsigned cancelled = 0;
        Scope scope;
        for (unsigned number = 0; number < count; ++number) scope.spawn(sleep_long, &cancelled);
        co_await passes(count / 64 + 2);
        CHECK(cancelled == 0);
        CHECK(metrics().operations == 0);
        const WorkerMetrics before = metrics();
        scope.cancel();
        co_await passes(1);
        // One drain of the inbox has taken all cancels, and so made every sleeper runnable; what is left to the
        // following passes is to resume them, 64 in each.
        CHECK(metrics().inbox - before.inbox == count);
        co_await scope.join();
        const WorkerMetrics after = metrics();
        CHECK(cancelled == count);
        CHECK(after.inbox - before.inbox == count);
        CHECK(after.parks == before.parks);
        CHECK(after.passes - before.passes <= count / 64 + 4);
    });
}

TEST_CASE("ten thousand receives that are late at the same instant all say so, on the smallest ring") {
    ManualClock clock;
    RuntimeOptions options = smallest_ring();
    options.clock = &clock;
    in_runtime_with(options, late_receives, &clock, how_many());
}

TEST_CASE("ten thousand Links that end in one pass with their receives armed all end, on the smallest ring") {
    in_runtime_with(smallest_ring(), many_ends, how_many());
}

TEST_CASE("ten thousand Links that end before the ring has taken their receives all end, on the smallest ring") {
    in_runtime_with(smallest_ring(), ends_before_they_begin, how_many());
}
