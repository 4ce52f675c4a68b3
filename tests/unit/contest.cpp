// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/contest.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CHAINRING_TEST_SLOWED 1
#endif
#endif

namespace support {

namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

// How long somebody hesitates before he does his part.
struct Pace {
    unsigned yields = 0;
    unsigned rounds_of_loop = 0;
    unsigned spins = 0;
    Instant until{};  // on the clock that goes on by itself
};

Pace random_pace(Random& random) {
    Pace pace;
    switch (random.below(4)) {
        case 0:
            break;
        case 1:
            pace.yields = random.below(6);
            break;
        case 2:
            pace.rounds_of_loop = random.below(5);
            break;
        default:
            pace.spins = random.below(4000);
            pace.yields = random.below(3);
    }
    return pace;
}

Task<> hesitate(Pace pace) {
    for (unsigned count = 0; count < pace.yields; ++count) co_await yield();
    if (pace.rounds_of_loop > 0) co_await passes(pace.rounds_of_loop);
    for (std::atomic<unsigned> count = 0; count < pace.spins;) ++count;
    while (plain::clock() < pace.until) co_await yield();
}

struct Attempt {
    Contest* contest = nullptr;
    MaybeLimit limit;
    Pace begins;
    std::error_code error;
    bool ended = false;
};

Task<> run_attempt(Attempt* attempt) {
    co_await hesitate(attempt->begins);
    attempt->error = co_await attempt->contest->attempt(attempt->limit);
    attempt->ended = true;
}

Task<> run_complete(Contest* contest, Pace pace) {
    co_await hesitate(pace);
    co_await contest->complete();
}

Task<> cancel_after(Scope* scope, Pace pace) {
    co_await hesitate(pace);
    scope->cancel();
}

Task<> advance_after(ManualClock* clock, Pace pace) {
    co_await hesitate(pace);
    clock->advance(1ms);
}

enum class Ending : unsigned { cancel, limit, clock };

struct Setting {
    unsigned workers = 1;
    Ending ending = Ending::cancel;
    unsigned rounds = 0;
    ManualClock* clock = nullptr;
};

Task<std::error_code> one_round(Contest* contest, const Setting* setting, Random* random) {
    co_await contest->prepare(*random);
    Attempt attempt;
    attempt.contest = contest;
    Pace completes = random_pace(*random);
    const Pace ends = random_pace(*random);
    if (random->one_in(3)) attempt.begins = random_pace(*random);
    if (setting->ending == Ending::limit) {
        attempt.limit = std::chrono::nanoseconds(random->below(100'000));
        completes.until = plain::clock() + std::chrono::nanoseconds(random->below(130'000));
    } else if (setting->ending == Ending::clock) {
        attempt.limit = 1ms;
    }
    Scope contender;
    Scope others;
    // Where the clock ends it, it stays here, so that what passes here tells how far it has come; else it may be
    // stolen.
    if (setting->ending == Ending::clock)
        contender.spawn_on(0, run_attempt, &attempt);
    else
        contender.spawn(run_attempt, &attempt);
    const auto somewhere = [&] { return random->below(setting->workers); };
    const bool ends_first = random->one_in(2);
    for (const bool completing : {ends_first, !ends_first}) {
        if (completing)
            others.spawn_on(somewhere(), run_complete, contest, completes);
        else if (setting->ending == Ending::cancel)
            others.spawn_on(somewhere(), cancel_after, &contender, ends);
        else if (setting->ending == Ending::clock)
            others.spawn_on(somewhere(), advance_after, setting->clock, ends);
    }
    co_await others.join();
    if (setting->ending == Ending::clock && !contest->completes) {
        co_await passes(12);  // a late contender has set its limit by now
        setting->clock->advance(1ms);
    }
    co_await contender.join();
    CHECK(attempt.ended);
    co_await contest->settle(attempt.error);
    co_return attempt.error;
}

Task<> cancelled_before_it_begins(Contest* contest, Random* random) {
    co_await contest->prepare(*random);
    Attempt attempt;
    attempt.contest = contest;
    Scope scope;
    scope.cancel();
    scope.spawn(run_attempt, &attempt);
    co_await scope.join();
    CHECK(attempt.error == contest->when_cancelled);
    co_await contest->settle(attempt.error);
}

Task<> cancelled_while_it_waits(Contest* contest, Random* random) {
    co_await contest->prepare(*random);
    Attempt attempt;
    attempt.contest = contest;
    Scope scope;
    scope.spawn(run_attempt, &attempt);
    co_await passes(4);
    CHECK(!attempt.ended);
    scope.cancel();
    co_await scope.join();
    CHECK(attempt.error == contest->when_cancelled);
    co_await contest->settle(attempt.error);
}

Task<> all_rounds(Contest* contest, const Setting* setting, Random* random) {
    const Balance before = Balance::now();
    co_await contest->begin();
    if (setting->ending == Ending::cancel) {
        for (unsigned count = 0; count < 20 / contest->fewer + 1; ++count) {
            co_await cancelled_before_it_begins(contest, random);
            if (contest->waits) co_await cancelled_while_it_waits(contest, random);
        }
    }
    const std::error_code early = setting->ending == Ending::cancel ? contest->when_cancelled : Errc::timed_out;
    unsigned completed = 0;
    for (unsigned round = 0; round < setting->rounds; ++round) {
        const std::error_code error = co_await one_round(contest, setting, random);
        if (!error) ++completed;
        if (error && error != early) FAIL_CHECK("round " << round << ": " << error.message());
    }
    co_await contest->end();
    co_await restored(before);
    if (contest->either_wins && setting->rounds >= 500) {
        CHECK(completed > 0);
        CHECK(completed < setting->rounds);
    }
    if (std::getenv("CHAINRING_VERBOSE")) std::printf("  %u of %u completed\n", completed, setting->rounds);
}

}  // namespace

unsigned rounds() {
#ifdef CHAINRING_TEST_SLOWED
    constexpr unsigned usual = 150;
    constexpr unsigned simulated = 8;
#else
    constexpr unsigned usual = 2000;
    constexpr unsigned simulated = 200;  // in a world that is the same each time, more find little more
#endif
    return static_cast<unsigned>(number_from("CHAINRING_ROUNDS", wanted_backend() == "sim" ? simulated : usual));
}

std::uint64_t seed() {
    static const std::uint64_t chosen = [] {
        const auto time = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
        // The kind simulated world is the same each time.
        const std::uint64_t value = number_from("CHAINRING_SEED", wanted_backend() == "sim" ? 1 : time);
        std::printf("CHAINRING_SEED=%llu CHAINRING_ROUNDS=%u\n", static_cast<unsigned long long>(value), rounds());
        std::fflush(stdout);
        return value;
    }();
    return chosen;
}

std::uint64_t Random::next() noexcept {
    std::uint64_t value = state_ += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

void contend_once(Contest& contest, unsigned workers, unsigned ending, const char* name) {
    CAPTURE(std::string(name));
    CAPTURE(seed());
    ManualClock clock;
    Setting setting;
    setting.workers = workers;
    setting.ending = static_cast<Ending>(ending);
    setting.rounds = rounds() / contest.fewer + 1;
    RuntimeOptions options = one_worker();
    options.workers = workers;
    if (setting.ending == Ending::clock) options.clock = setting.clock = &clock;
    Random random(seed() + workers * 10 + ending);
    const int before = descriptors();
    const Instant start = std::chrono::steady_clock::now();
    in_runtime_with(options, all_rounds, &contest, &setting, &random);
    CHECK(descriptors() == before);
    if (std::getenv("CHAINRING_VERBOSE")) {
        const auto took = std::chrono::steady_clock::now() - start;
        std::printf("%s: %lld ms\n", name, static_cast<long long>(took / 1ms));
    }
}

Balance Balance::now() {
    const WorkerMetrics held = metrics();
    Balance balance;
    balance.descriptors = support::descriptors();
    balance.links = held.links;
    balance.lent = held.buffers_lent;
    balance.operations = held.operations;
    return balance;
}

Task<> restored(Balance before) {
    Balance held = Balance::now();
    const Instant deadline = plain::clock() + 10s;
    while (held != before && plain::clock() < deadline) {
        co_await passes(2);
        held = Balance::now();
    }
    CHECK(held.descriptors == before.descriptors);
    CHECK(held.links == before.links);
    CHECK(held.lent == before.lent);
    CHECK(held.operations == before.operations);
}

// ---- Peer

Task<Peer> connected_peer(Address to) {
    Peer peer(co_await plain::connect(std::move(to)));
    if (peer.fd() < 0) FAIL_CHECK("connect: errno " << errno);
    co_return peer;
}

Peer::~Peer() {
    if (fd_ >= 0) plain::reset(fd_);
}

Task<> Peer::send(std::string bytes) const {
    for (std::string_view rest = bytes; !rest.empty();) {
        const long sent = plain::send(fd_, rest);
        if (sent < 0 && errno != EAGAIN) {
            FAIL_CHECK("send: errno " << errno);
            co_return;
        }
        if (sent < 0)
            co_await yield();
        else
            rest.remove_prefix(static_cast<std::size_t>(sent));
    }
}

void Peer::try_send(std::string_view bytes) const {
    if (plain::send(fd_, bytes) < 0 && errno != ECONNRESET && errno != EPIPE) FAIL_CHECK("send: errno " << errno);
}

long Peer::take(std::string& into, std::size_t most) const {
    const std::size_t before = into.size();
    into.resize(before + most);
    const long got = plain::recv(fd_, std::as_writable_bytes(std::span(into).subspan(before)));
    into.resize(before + static_cast<std::size_t>(std::max<long>(got, 0)));
    return got;
}

Task<> Peer::take_exactly(std::string* into, std::size_t bytes) const {
    while (bytes > 0) {
        const long got = take(*into, bytes);
        if (got > 0)
            bytes -= static_cast<std::size_t>(got);
        else if (got < 0 && errno == EAGAIN)
            co_await yield();
        else
            break;
    }
    CHECK(bytes == 0);
}

Task<Wired> wired(Listener& listener) {
    Wired both;
    both.peer = co_await connected_peer(listener.address());
    both.link = (co_await listener.accept()).value();
    co_return both;
}

std::string unix_address() {
    static std::atomic<unsigned> count{0};
    return "unix:@chainring-contest-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}

std::string bytes_from(std::uint64_t position, std::size_t count) {
    std::string bytes(count, '\0');
    for (char& byte : bytes) byte = byte_at(position++);
    return bytes;
}

}  // namespace support
