// SPDX-License-Identifier: BSL-1.0
// Servers and clients in simulated worlds, whose properties hold on the library and break on the copies with planted
// bugs (tests/sim/mutants):
//
//     <program> <scenario> <seeds>           no seed may break a property
//     <program> <scenario> <seeds> --find   one of the seeds has to; tells which, and how
//
// CHAINRING_SEED runs one seed alone. See docs/design/simulator.md, "Planted bugs".
#include <chainring/chainring.hpp>
#include <chainring/sim.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t port = 7000;
constexpr auto any_address = "0.0.0.0:7000";

// The first property that this seed has broken. The run goes on: nobody leaves a Scope for it.
std::string broken;

void hold(bool condition, std::string_view property) {
    if (!condition && broken.empty()) broken = property;
}

std::uint64_t below(sim::World& world, std::uint64_t bound) {
    return world.random() % bound;
}
Duration up_to(sim::World& world, Duration most) {
    return Duration(static_cast<Duration::rep>(below(world, static_cast<std::uint64_t>(most.count()))));
}
std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// A stream of which every byte tells its place.
char byte_at(std::size_t offset) {
    return static_cast<char>(0x80 | ((offset * 31 + offset / 251) & 0x7f));
}
std::string stream(std::size_t offset, std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t at = 0; at < size; ++at) text[at] = byte_at(offset + at);
    return text;
}

RuntimeOptions with_workers(unsigned workers, unsigned buffers, unsigned buffer_size) {
    RuntimeOptions options = sim::World::host_options();
    options.workers = workers;
    options.recv_buffers = buffers;
    options.recv_buffer_size = buffer_size;
    return options;
}

// Until the client has ended; then the server is told to stop, and does.
void play(sim::World& world, sim::Host& server, sim::Host& client) {
    hold(world.run_until([&] { return !client.running(); }, 10min), "the client comes to its end");
    server.stop();
    hold(world.run_until([&] { return !server.running(); }, 1min), "the server stops");
    hold(server.descriptors() == 0 && client.descriptors() == 0, "no descriptor is left open");
}

// A world may abort a connection that waits to be accepted: a client is in when the server has said so.
Task<Link> enter(Address server) {
    for (unsigned attempts = 0; attempts < 20; ++attempts) {
        auto link = co_await Link::connect(server).within(10s);
        if (!link) continue;
        std::array<std::byte, 1> welcome{};
        const auto welcomed = co_await link->recv_exact(welcome).within(10s);
        if (welcomed) co_return std::move(*link);
        hold(welcomed.error() != Errc::timed_out, "who is connected is answered");
    }
    hold(false, "who is connected is answered");
    co_return Link();
}

// ---- accepts: short waits for a connection, one after the other; each client is greeted and answered

Task<> greet(Link link) {
    if (!co_await link.send("hello, ").within(30s)) co_return;
    while (auto chunk = co_await link.recv().within(30s))
        if (!co_await link.send(std::move(*chunk))) break;
}

Task<> accept_in_short_waits(sim::World* world) {
    auto listener = (co_await Listener::bind(any_address)).value();
    Scope scope;
    for (;;) {
        auto link = co_await listener.accept().within(10us + up_to(*world, 300us));
        if (link)
            scope.spawn(greet, std::move(*link));
        else if (link.error() != Errc::timed_out)
            break;
    }
    co_await scope.join();
}

struct Greeted {
    unsigned answered = 0;
    unsigned closed = 0;  // with the end of the stream instead of a greeting
};

Task<> be_greeted(sim::World* world, Address server, Greeted* sums) {
    (void)co_await sleep_for(up_to(*world, 5ms));
    auto link = co_await Link::connect(server).within(10s);
    if (!link) co_return;
    std::array<std::byte, 12> answer{};
    auto greeting = co_await link->recv_exact(std::span(answer).first(7)).within(10s);
    if (!greeting) {
        hold(greeting.error() != Errc::timed_out, "who is connected is answered");
        if (greeting.error() == Errc::eof) ++sums->closed;
        co_return;  // reset: it was aborted before it was accepted
    }
    if (!co_await link->send("world").within(10s)) co_return;
    const auto rest = co_await link->recv_exact(std::span(answer).last(5)).within(10s);
    if (rest && std::ranges::equal(answer, bytes_of("hello, world"))) ++sums->answered;
    (void)co_await link->shutdown_write();
    (void)co_await link->recv().within(10s);
}

Task<> many_are_greeted(sim::World* world, Address server, unsigned clients, Greeted* sums) {
    Scope scope;
    for (unsigned client = 0; client < clients; ++client) scope.spawn(be_greeted, world, server, sums);
    co_await scope.join();
}

void accepts(sim::World& world) {
    sim::Host& server = world.add_host("server");
    sim::Host& client = world.add_host("client");
    server.start(accept_in_short_waits, &world);
    (void)world.run_until([&] { return server.descriptors() > 0; });
    Greeted sums;
    client.start(many_are_greeted, &world, server.address(port), 20U, &sums);
    play(world, server, client);
    hold(sums.closed == 0, "an accepted connection is not closed under its client");
    hold(sums.answered >= 15, "nearly every client is answered");
}

// ---- greetings: one accept that waits for all of them

Task<> serve_greetings() {
    auto listener = (co_await Listener::bind(any_address)).value();
    co_await listener.serve(greet);
}

void greetings(sim::World& world) {
    sim::Host& server = world.add_host("server");
    sim::Host& client = world.add_host("client");
    server.start(serve_greetings);
    (void)world.run_until([&] { return server.descriptors() > 0; });
    Greeted sums;
    client.start(many_are_greeted, &world, server.address(port), 20U, &sums);
    play(world, server, client);
    hold(sums.answered >= 15, "nearly every client is answered");
}

// ---- connects: connects against limits of about the time that they take

Task<> connect_in_time(sim::World* world, Address server) {
    for (unsigned count = 0; count < 30; ++count) {
        auto link = co_await Link::connect(server).within(300us + up_to(*world, 500us));
        if (link) co_await link->close().within(1s);
    }
}

void connects(sim::World& world) {
    sim::Host& server = world.add_host("server");
    sim::Host& client = world.add_host("client");
    server.start(serve_greetings);
    (void)world.run_until([&] { return server.descriptors() > 0; });
    client.start(connect_in_time, &world, server.address(port));
    play(world, server, client);
}

// ---- pauses: uploads to a server that takes a rest now and then, so that its Link stops reading

Task<> take_in(Link link, sim::World* world) {
    (void)co_await link.send("!");
    std::size_t total = 0;
    for (;;) {
        auto chunk = co_await link.recv();
        if (!chunk) break;
        const std::string text = chunk->to_string();
        hold(text == stream(total, text.size()), "bytes arrive as they were sent");
        total += text.size();
        *chunk = Chunk();
        if (below(*world, 4) == 0) (void)co_await sleep_for(up_to(*world, 3ms));
    }
    (void)co_await link.send(std::to_string(total) + '.');
}

Task<> serve_uploads(sim::World* world) {
    auto listener = (co_await Listener::bind(any_address)).value();
    co_await listener.serve(take_in, world);
}

Task<> send_stream(sim::World* world, Link* link, std::size_t total) {
    for (std::size_t sent = 0; sent < total;) {
        const std::size_t size = std::min<std::size_t>(1 + below(*world, 100'000), total - sent);
        const std::string part = stream(sent, size);
        const auto done = co_await link->send(part);
        hold(done.has_value(), "the stream can be sent");
        sent += size;
    }
    (void)co_await link->shutdown_write();
}

Task<> upload(sim::World* world, Address server, std::size_t total) {
    Link link = co_await enter(server);
    if (!link) co_return;
    co_await send_stream(world, &link, total);
    const auto counted = co_await link.recv_until(".", 20);
    hold(counted && *counted == std::to_string(total), "an upload is complete");
}

void pauses(sim::World& world) {
    sim::Host& server = world.add_host("server", with_workers(2, 64, 4096));
    sim::Host& client = world.add_host("client");
    server.start(serve_uploads, &world);
    (void)world.run_until([&] { return server.descriptors() > 0; });
    client.start(upload, &world, server.address(port), std::size_t{1'000'000});
    play(world, server, client);
}

// ---- senders: several tasks send on one Link, with limits, to a client that reads now and then. Between the frames of
// some, another sends back the client's own stream. What is told as sent has to arrive, whole and in order; what is
// told as not sent must not.

struct Fate {
    std::string echoed;                                // as the echo was told to have gone
    std::set<std::pair<unsigned, unsigned>> sent;      // frames: sender, number
    std::set<std::pair<unsigned, unsigned>> not_sent;  // ended early, nothing of it on the wire
    bool broken = false;                               // a send ended in the middle
};

constexpr std::size_t frame_head = 6;

std::string frame(unsigned sender, unsigned number, std::size_t size) {
    std::string text = {'F',
                        static_cast<char>('0' + sender),
                        static_cast<char>(number & 0x7f),
                        static_cast<char>(number >> 7 & 0x7f),
                        static_cast<char>(size & 0x7f),
                        static_cast<char>(size >> 7 & 0x7f)};
    for (std::size_t at = 0; at < size; ++at) text += static_cast<char>((sender * 17 + number * 5 + at) & 0x7f);
    return text;
}

Task<> send_frames(sim::World* world, Link* link, Fate* fate, unsigned sender, unsigned frames) {
    for (unsigned number = 0; number < frames; ++number) {
        const std::string text = frame(sender, number, below(*world, below(*world, 2) == 0 ? 16'000 : 1'000));
        const std::array<IoSlice, 3> pieces = {IoSlice(std::string_view(text).substr(0, 4)),
                                               IoSlice(std::string_view(text).substr(4, 2)),
                                               IoSlice(std::string_view(text).substr(6))};
        auto send = below(*world, 2) == 0 ? link->send(text) : link->send(std::span<const IoSlice>(pieces));
        if (below(*world, 4) == 0) (void)std::move(send).within(up_to(*world, 2ms));
        const auto sent = co_await send;
        if (sent)
            fate->sent.emplace(sender, number);
        else if (sent.error() == Errc::write_broken || sent.error() == Errc::closed)
            co_return;
        else
            fate->not_sent.emplace(sender, number);  // or a part of it, and the next send tells
        if (below(*world, 8) == 0) (void)co_await sleep_for(up_to(*world, 2ms));
    }
}

Task<> echo_between(sim::World* world, Link* link, Fate* fate) {
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) break;
        const std::string text = chunk->to_string();
        auto send = link->send(std::move(*chunk));
        const std::uint64_t limit = below(*world, 4);
        if (limit < 2) (void)std::move(send).within(up_to(*world, limit == 0 ? 500us : 5us));
        const auto sent = co_await send;
        if (sent)
            fate->echoed += text;
        else if (sent.error() == Errc::write_broken || sent.error() == Errc::closed)
            co_return;
    }
}

Task<> last_frame(Link* link, Fate* fate, Event* queued) {
    const std::string text = frame(9, 0, 2'000);
    queued->set();
    const auto sent = co_await link->send(text);
    if (sent) fate->sent.emplace(9, 0);
    hold(sent || sent.error() == Errc::write_broken || sent.error() == Errc::closed,
         "a half close waits for what is queued");
}

Task<> send_from_many(Link link, sim::World* world, Fate* fate) {
    stay_here();  // so that the order of the calls is theirs
    (void)co_await link.send("!");
    Scope scope;
    scope.spawn_on(link.home(), echo_between, world, &link, fate);
    for (unsigned sender = 0; sender < 3; ++sender)
        scope.spawn_on(link.home(), send_frames, world, &link, fate, sender,
                       1U + static_cast<unsigned>(below(*world, 12)));
    co_await scope.join();
    Event queued;
    Scope last;
    last.spawn_on(link.home(), last_frame, &link, fate, &queued);
    (void)co_await queued.wait();
    const auto ended = co_await link.shutdown_write();
    fate->broken = !ended;
    co_await last.join();
}

Task<> serve_from_many(sim::World* world, Fate* fate) {
    auto listener = (co_await Listener::bind(any_address)).value();
    co_await listener.serve(send_from_many, world, fate);
}

// Reads frames, and what comes between them.
Task<> read_frames(sim::World* world, Link* link, Fate* got) {
    std::string text;
    (void)co_await sleep_for(up_to(*world, 20ms));
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) break;
        text += chunk->to_string();
        *chunk = Chunk();
        if (below(*world, 3) == 0) (void)co_await sleep_for(up_to(*world, 20ms));
    }
    std::size_t at = 0;
    while (at < text.size()) {
        if (static_cast<unsigned char>(text[at]) >= 0x80) {
            got->echoed += text[at++];
            continue;
        }
        if (text.size() - at < frame_head) break;
        const auto field = [&text, at](std::size_t index) { return static_cast<unsigned>(text[at + index]); };
        const unsigned sender = field(1) - '0';
        const unsigned number = field(2) | field(3) << 7;
        const std::size_t size = field(4) | field(5) << 7;
        const std::string expected = frame(sender, number, size);
        const std::string_view found = std::string_view(text).substr(at, expected.size());
        if (found.size() < expected.size() && expected.starts_with(found)) break;
        hold(found == expected, "a frame arrives as it was sent");
        hold(got->sent.emplace(sender, number).second, "no frame comes twice");
        at += expected.size();
    }
    got->broken = at < text.size();
}

Task<> send_slowly(sim::World* world, Link* link) {
    for (std::size_t sent = 0; sent < 20'000;) {
        const std::string part = stream(sent, 1 + below(*world, 3'000));
        const auto done = co_await link->send(part).within(10s);
        if (!done) break;
        sent += part.size();
        if (below(*world, 3) == 0) (void)co_await sleep_for(up_to(*world, 3ms));
    }
    (void)co_await link->shutdown_write();
}

Task<> read_from_many(sim::World* world, Address server, Fate* got) {
    Link link = co_await enter(server);
    if (!link) co_return;
    Scope scope;
    scope.spawn(send_slowly, world, &link);
    co_await read_frames(world, &link, got);
    co_await scope.join();
}

void senders(sim::World& world) {
    sim::Host& server = world.add_host("server", with_workers(2, 32, 1024));
    sim::Host& client = world.add_host("client");
    sim::Wire slow;
    slow.bandwidth = 2'000'000;
    world.wire(server, client, slow);
    Fate told;
    Fate got;
    server.start(serve_from_many, &world, &told);
    (void)world.run_until([&] { return server.descriptors() > 0; });
    client.start(read_from_many, &world, server.address(port), &got);
    play(world, server, client);
    if (told.broken) {  // the Link is reset then, with what is on its way
        hold(told.echoed.starts_with(got.echoed) || got.echoed.starts_with(told.echoed), "what was sent is in order");
        return;
    }
    for (const auto& each : told.sent) hold(got.sent.contains(each), "what was sent arrives");
    hold(!got.broken, "the stream ends between two frames");
    for (const auto& each : told.not_sent) hold(!got.sent.contains(each), "what was not sent does not arrive");
    hold(got.echoed == told.echoed, "what was sent arrives, in order, and nothing else");
}

// ---- hops: tasks that meet on two workers and have nothing else to wait for than a timer that is far away

Task<> hop(sim::World* world, Event* mine, Event* theirs, unsigned rounds) {
    for (unsigned round = 0; round < rounds; ++round) {
        (void)co_await mine->wait();
        mine->reset();
        co_await resume_on(static_cast<unsigned>(below(*world, 2)));
        if (below(*world, 2) == 0) co_await yield();
        theirs->set();
    }
}

Task<> sleep_on() {
    (void)co_await sleep_for(1min);
}

Task<> hop_about(sim::World* world) {
    Event ping;
    Event pong;
    ping.set();
    Scope sleepers;
    for (unsigned worker = 0; worker < 2; ++worker) sleepers.spawn_on(worker, sleep_on);
    Scope scope;
    scope.spawn(hop, world, &ping, &pong, 200U);
    scope.spawn(hop, world, &pong, &ping, 200U);
    co_await scope.join();
    sleepers.cancel();
    co_await sleepers.join();
}

void hops(sim::World& world) {
    sim::Host& host = world.add_host("host");
    host.start(hop_about, &world);
    world.run();
    hold(world.elapsed() < 1s, "who has been woken does not sleep until a timer");
}

// ---- the program

struct Scenario {
    std::string_view name;
    void (*run)(sim::World&);
};

constexpr std::array scenarios = {
    Scenario{"accepts", accepts}, Scenario{"connects", connects}, Scenario{"greetings", greetings},
    Scenario{"hops", hops},       Scenario{"pauses", pauses},     Scenario{"senders", senders},
};

// How the seed breaks it; empty: it does not. A broken world is left as it is: its tasks may not even end.
std::string outcome(const Scenario& scenario, std::uint64_t seed) {
    auto world = std::make_unique<sim::World>(seed);
    broken.clear();
    try {
        scenario.run(*world);
    } catch (const sim::Stuck& stuck) {
        if (broken.empty()) broken = stuck.what();
    }
    const char* trace = std::getenv("CHAINRING_TRACE");
    if (trace && *trace) world->print_trace(std::cerr);
    if (!broken.empty()) (void)world.release();
    return broken;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view name = argc > 1 ? argv[1] : "";
    const auto scenario = std::ranges::find(scenarios, name, &Scenario::name);
    std::uint64_t seeds = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
    const bool find = argc > 3 && std::string_view(argv[3]) == "--find";
    if (scenario == scenarios.end() || seeds == 0) {
        std::fprintf(stderr, "usage: %s <scenario> <seeds> [--find]\n", argv[0]);
        return 2;
    }
    std::uint64_t first = 1;
    if (const char* only = std::getenv("CHAINRING_SEED")) {
        first = std::strtoull(only, nullptr, 0);
        seeds = 1;
    }
    for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
        const std::string how = outcome(*scenario, seed);
        if (how.empty()) continue;
        std::printf("%s: seed %llu, after %llu seed(s): %s\n", find ? "found" : "FAILED",
                    static_cast<unsigned long long>(seed), static_cast<unsigned long long>(seed - first + 1),
                    how.c_str());
        return find ? 0 : 1;
    }
    std::printf("%s: %llu seed(s) break nothing\n", find ? "NOT FOUND" : "passed",
                static_cast<unsigned long long>(seeds));
    return find ? 1 : 0;
}
