// SPDX-License-Identifier: BSL-1.0
// senders: several tasks send on one Link, with limits, to a client that reads now and then. Between the frames of
// some, another sends back the client's own stream. What is told as sent has to arrive, whole and in order; what is
// told as not sent must not.
#include "tests/sim/scenarios.hpp"

#include <array>
#include <set>
#include <string>
#include <utility>

namespace scenarios {
namespace {

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

}  // namespace

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

}  // namespace scenarios
