// SPDX-License-Identifier: BSL-1.0
// Random ends: two Links of one connection, on each of them a task that receives in all ways and one that sends; at a
// random moment somebody closes, half closes, aborts, drops or cancels one end, or stops the runtime, at times two of
// these at once. Afterwards descriptors, buffers, operations, Links and tasks are as many as before.
//
// Whatever waits is met by whatever ends it: a table counts which met which, and none may stay empty where there were
// enough rounds. CHAINRING_ROUNDS and CHAINRING_SEED as in contest.hpp; CHAINRING_VERBOSE prints the table.
#include "tests/unit/contest.hpp"

#include <array>
#include <cstdio>

using namespace support;

namespace {

enum Wait : unsigned { in_recv, in_recv_into, in_recv_exact, in_recv_until, in_peek, in_send, in_pause, wait_kinds };
constexpr unsigned none = wait_kinds;
constexpr const char* wait_names[] = {"recv", "recv into", "recv_exact", "recv_until", "peek", "send", "pause"};

enum class End : unsigned { close, close_gracefully, half_close, abort, drop, force, idle, cancel, stop };
constexpr unsigned end_kinds = 9;
constexpr const char* end_names[] = {"close", "graceful", "half close", "abort", "drop",
                                     "force", "idle",     "cancel",     "stop"};
constexpr unsigned rounds_per_runtime = 10;  // the last of them is stopped

struct Storm {
    Random random{seed()};
    unsigned workers = 1;
    std::array<std::array<unsigned, end_kinds>, wait_kinds> met{};
};

struct Side {
    Link link;
    std::atomic<unsigned> reading{none};
    std::atomic<unsigned> writing{none};
};

struct Moment {
    explicit Moment(Random& random) noexcept
        : yields(random.one_in(2) ? random.below(12) : 0),
          loops(random.one_in(2) ? random.below(8) : 0),
          spins(random.one_in(3) ? random.below(3000) : 0) {}
    unsigned yields;
    unsigned loops;
    unsigned spins;
};

Task<> until_then(Moment moment) {
    for (unsigned count = 0; count < moment.yields; ++count) co_await yield();
    if (moment.loops > 0) co_await passes(moment.loops);
    for (std::atomic<unsigned> count = 0; count < moment.spins;) ++count;
}

Duration short_time(Random& random) {
    return std::chrono::microseconds(random.below(400));
}

bool goes_on(std::error_code error) {
    return !error || error == Errc::timed_out || error == Errc::too_long;
}

Task<> receive_on(Side* side, std::uint64_t start) {
    Random random(start);
    std::array<std::byte, 2000> into{};
    std::error_code error;
    for (unsigned step = 0; step < 60 && side->link && goes_on(error); ++step) {
        const unsigned how = random.below(5);
        const MaybeLimit limit = random.one_in(4) ? MaybeLimit(short_time(random)) : MaybeLimit();
        const std::span room = std::span(into).first(1 + random.below(2000));
        side->reading = how;
        switch (how) {
            case in_recv: {
                if (random.one_in(2)) {
                    auto chunk = co_await limited(side->link.recv(), limit);
                    error = chunk.error();
                    side->reading = none;
                    if (random.one_in(3)) co_await yield();  // keeps it for a while
                } else {
                    auto chunk = co_await limited(side->link.recv().stamped(), limit);
                    error = chunk.error();
                    if (chunk) CHECK(chunk->arrived() > Instant());
                }
                break;
            }
            case in_recv_into: {
                auto count = co_await limited(side->link.recv(room), limit);
                error = count.error();
                break;
            }
            case in_recv_exact: {
                auto filled = co_await limited(side->link.recv_exact(room), limit);
                error = filled.error();
                break;
            }
            case in_recv_until: {
                auto line = co_await limited(side->link.recv_until("\n", 4000), limit);
                error = line.error();
                break;
            }
            default: {
                auto seen = co_await limited(side->link.peek(room, 1 + random.below(20) % room.size()), limit);
                error = seen.error();
                break;
            }
        }
        side->reading = none;
        if (error != Errc::too_long || !side->link) continue;
        auto rest = co_await side->link.recv(room);
        error = rest.error();
    }
}

Task<> send_on(Side* side, std::uint64_t start) {
    Random random(start);
    Outbox outbox = side->link.outbox(1 << 20);
    std::error_code error;
    for (unsigned step = 0; step < 20 && side->link && goes_on(error); ++step) {
        std::string text = bytes_from(step, 1 + random.below(random.one_in(6) ? 400'000 : 3'000));
        text.back() = '\n';
        if (random.one_in(4)) {
            outbox.post(Payload(std::move(text)));
        } else if (random.one_in(5)) {
            side->writing = in_pause;
            co_await sleep_for(short_time(random));
        } else {
            const MaybeLimit limit = random.one_in(6) ? MaybeLimit(short_time(random)) : MaybeLimit();
            side->writing = in_send;
            auto sent = co_await limited(side->link.send(text), limit);
            error = sent.error();
        }
        side->writing = none;
    }
    if (!side->link || !random.one_in(3)) co_return;
    auto ended = co_await side->link.shutdown_write().within(1ms);
    if (ended) CHECK(*ended == 0);
}

void note(Storm* storm, const Side& side, End how) {
    for (const unsigned wait : {side.reading.load(), side.writing.load()})
        if (wait != none) ++storm->met[wait][static_cast<unsigned>(how)];
}

struct Ending {
    Storm* storm = nullptr;
    Side* side = nullptr;
    Side* other = nullptr;
    Scope* actors = nullptr;
    End how = End::abort;
    Moment when;
    Duration within{};
    bool twice = false;
};

Task<> bring_about(const Ending* ending) {
    co_await until_then(ending->when);
    Link& link = ending->side->link;
    if (!link) co_return;
    if (ending->storm->workers == 1 || Runtime::current_worker() == 0) {
        note(ending->storm, *ending->side, ending->how);
        if (ending->how == End::cancel || ending->how == End::stop) note(ending->storm, *ending->other, ending->how);
    }
    switch (ending->how) {
        case End::close:
            co_await link.close().within(ending->within);
            break;
        case End::close_gracefully: {
            const bool ended = co_await link.close_gracefully(ending->within);
            CHECK((ended || true));
            break;
        }
        case End::half_close: {
            auto ended = co_await link.shutdown_write().within(ending->within);
            if (ended) CHECK(*ended == 0);
            break;
        }
        case End::abort:
            link.abort();
            break;
        case End::drop:
            link = Link();
            break;
        case End::force:
            link.force_close_after(ending->within);
            break;
        case End::idle:
            link.close_when_idle(ending->within,
                                 ending->twice ? IdleMeans::nothing_received : IdleMeans::nothing_received_or_sent);
            break;
        case End::cancel:
            ending->actors->cancel();
            break;
        case End::stop:
            Runtime::current().request_stop();
            if (ending->twice) Runtime::current().request_stop();
            break;
    }
}

Task<> one_round(Storm* storm, Listener* listener, bool stops) {
    Random& random = storm->random;
    Side near;
    Side far;
    near.link = (co_await Link::connect(listener->address())).value();
    far.link = (co_await listener->accept()).value();
    const auto somewhere = [storm, &random] { return random.below(storm->workers); };
    Scope actors;
    for (Side* side : {&near, &far}) {
        actors.spawn_on(somewhere(), receive_on, side, random.next());
        actors.spawn_on(somewhere(), send_on, side, random.next());
    }
    // Only one of two may wait for the end of the same Link; and a handle is dropped where its users are.
    const auto make = [&](End how) {
        const bool swapped = random.one_in(2);
        return Ending{storm, swapped ? &far : &near, swapped ? &near : &far, &actors,
                      how,   Moment(random),         short_time(random),     random.one_in(2)};
    };
    const auto pick = [&](unsigned first) {
        const auto how = static_cast<End>(first + random.below(end_kinds - 1 - first));
        return how == End::drop && storm->workers > 1 ? End::abort : how;
    };
    const Ending one = make(stops ? End::stop : pick(0));
    const Ending other = make(pick(2));
    const bool both = random.one_in(3);
    Scope endings;
    endings.spawn_on(somewhere(), bring_about, &one);
    if (both) endings.spawn_on(somewhere(), bring_about, &other);
    co_await endings.join();
    if (random.one_in(2)) co_await passes(random.below(12));
    for (Side* side : {&near, &far})
        if (side->link) side->link.abort();
    co_await actors.join();
}

Task<> rounds_then_stop(Storm* storm, unsigned count) {
    co_await resume_on(0);
    auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
    co_await one_round(storm, &listener, false);  // from now on the accept is armed
    co_await passes(20);
    while (Balance::now().links > 0) (void)co_await sleep_for(1ms);  // closing takes its time
    const Balance before = Balance::now();
    for (unsigned round = 0; round < count; ++round) {
        co_await one_round(storm, &listener, false);
        co_await restored(before);
    }
    co_await one_round(storm, &listener, true);
}

}  // namespace

TEST_CASE("Links that end at any moment, in any way, leave nothing behind" * not_misbehaving()) {
    CAPTURE(seed());
    Storm storm;
    const int before = descriptors();
    for (unsigned round = 0; round < rounds(); round += rounds_per_runtime) {
        CAPTURE(round);
        RuntimeOptions options = one_worker();
        options.workers = storm.workers = 1 + storm.random.below(2);
        options.stop_grace = storm.random.one_in(2) ? short_time(storm.random) : Duration(5s);
        in_runtime_with(options, rounds_then_stop, &storm, rounds_per_runtime - 2);
    }
    CHECK(descriptors() == before);
    const bool verbose = std::getenv("CHAINRING_VERBOSE") != nullptr;
    for (unsigned wait = 0; wait < wait_kinds; ++wait) {
        for (unsigned how = 0; how < end_kinds; ++how) {
            const unsigned times = storm.met[wait][how];
            if (verbose) std::printf("%s meets %s: %u\n", wait_names[wait], end_names[how], times);
            if (rounds() < 2000) continue;
            CAPTURE(wait_names[wait]);
            CAPTURE(end_names[how]);
            CHECK(times > 0);
        }
    }
}
