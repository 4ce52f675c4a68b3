// SPDX-License-Identifier: BSL-1.0
// A server whose Links end in the ways that no sample needs, for link_ends.py. What it does with each connection:
//
//   link_ends send BYTES                        sends so many, receives nothing, and closes gracefully
//   link_ends units COUNT BYTES                 begins so many sends of so many bytes at the same time; closes
//   gracefully link_ends ask ROUNDS                        sends 8 bytes, sends 56, receives one; so many times
//   link_ends info                              answers each line with what tcp_info says
//   link_ends idle MS                           echoes, and closes who is idle for so long
//   link_ends heartbeat SHORTEST LONGEST MISSES  pings, in ms, and resets who no longer answers
#include <chainring/chainring.hpp>

#include "samples/command_line.hpp"

#include <array>
#include <string>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

struct Plan {
    std::string what;
    unsigned long first = 0;
    unsigned long second = 0;
    HeartbeatOptions heartbeat;
    std::string block = std::string(std::size_t{1} << 20, 'b');
};

Task<> send_much(Link* link, const Plan* plan) {
    for (unsigned long left = plan->first; left > 0;) {
        const auto sent = co_await link->send(std::string_view(plan->block).substr(0, left));
        if (!sent) co_return;
        left -= *sent;
    }
    const bool ended = co_await link->close_gracefully(5s);
    if (!ended) std::fprintf(stderr, "link_ends: a peer has not ended\n");
}

// Each 16 bytes of a unit say whose they are.
std::string unit_of(unsigned long number, std::size_t size) {
    std::string unit;
    unit.reserve(size + 16);
    for (std::size_t at = 0; at < size; at += 16) {
        std::array<char, 40> line{};
        std::snprintf(line.data(), line.size(), "%02lx:%012zx\n", number, at);
        unit += line.data();
    }
    unit.resize(size);
    return unit;
}

Task<> send_unit(Link* link, unsigned long number, std::size_t size) {
    const std::string unit = unit_of(number, size);
    const auto sent = co_await link->send(unit);
    if (!sent) std::fprintf(stderr, "link_ends: unit %lu: %s\n", number, sent.error().message().c_str());
}

Task<> send_units(Link* link, const Plan* plan) {
    Scope sending;
    for (unsigned long number = 0; number < plan->first; ++number)
        sending.spawn(send_unit, link, number, std::size_t{plan->second});
    co_await sending.join();
    const bool ended = co_await link->close_gracefully(20s);
    if (!ended) std::fprintf(stderr, "link_ends: a peer has not ended\n");
}

Task<> ask(Link* link, const Plan* plan) {
    const std::string head(8, 'h');
    const std::string body(56, 'b');
    for (unsigned long round = 0; round < plan->first; ++round) {
        (void)co_await link->send(head);
        (void)co_await link->send(body);
        std::byte reply{};
        const auto got = co_await link->recv_exact(std::span(&reply, 1));
        if (!got) break;
    }
}

Task<> tell_info(Link* link) {
    for (;;) {
        const auto line = co_await link->recv_until("\n", std::size_t{1} << 20);
        if (!line) break;
        const TcpInfo info = link->tcp_info().value();
        const auto round_trip = std::chrono::duration_cast<std::chrono::microseconds>(info.round_trip).count();
        const std::string told =
            "sent=" + std::to_string(info.bytes_sent) + " received=" + std::to_string(info.bytes_received) +
            " retransmits=" + std::to_string(info.retransmits) + " rtt_us=" + std::to_string(round_trip) + "\n";
        const auto sent = co_await link->send(told);
        if (!sent) break;
    }
}

Task<> echo_until_idle(Link* link, const Plan* plan) {
    link->close_when_idle(std::chrono::milliseconds(plan->first));
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) break;
        const auto sent = co_await link->send(std::move(*chunk));
        if (!sent) break;
    }
}

Task<> watch(Heartbeat* heart, Link* link) {
    const std::error_code end = co_await heart->watch(*link, link->outbox(), Payload("ping\n"));
    if (end == Errc::timed_out) std::fprintf(stderr, "link_ends: a peer is dead\n");
}

Task<> ping(Link* link, const Plan* plan) {
    Heartbeat heart(plan->heartbeat);
    Scope scope;
    scope.spawn(watch, &heart, link);
    for (;;) {
        const auto chunk = co_await link->recv();
        if (!chunk) break;
        heart.heard();
    }
    scope.cancel();
    co_await scope.join();
}

Task<> handle(Link link, const Plan* plan) {
    if (plan->what == "send") co_await send_much(&link, plan);
    if (plan->what == "units") co_await send_units(&link, plan);
    if (plan->what == "ask") co_await ask(&link, plan);
    if (plan->what == "info") co_await tell_info(&link);
    if (plan->what == "idle") co_await echo_until_idle(&link, plan);
    if (plan->what == "heartbeat") co_await ping(&link, plan);
}

Task<int> serve(const CommandLine* options, const Plan* plan) {
    auto listener = co_await Listener::bind(options->listen, options->listening);
    if (!listener) co_return options->cannot_listen(listener.error());
    options->announce(listener->address());
    co_await listener->serve(handle, plan);
    co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
    CommandLine options("link_ends", "Ends connections in many ways.");
    options.positional =
        " send BYTES | units COUNT BYTES | ask ROUNDS | info | idle MS | heartbeat SHORTEST LONGEST MISSES";
    options.positional_count = 4;
    if (!options.parse(argc, argv)) return options.exit_code;
    Plan plan;
    const auto number = [&options](std::size_t at) { return std::stoul(options.arguments.at(at)); };
    plan.what = options.arguments.at(0);
    if (plan.what != "info") plan.first = number(1);
    if (plan.what == "units") plan.second = number(2);
    if (plan.what == "heartbeat") {
        plan.heartbeat.shortest = std::chrono::milliseconds(number(1));
        plan.heartbeat.longest = std::chrono::milliseconds(number(2));
        plan.heartbeat.misses = static_cast<unsigned>(number(3));
    }
    return run(options.runtime, serve, &options, &plan);
}
