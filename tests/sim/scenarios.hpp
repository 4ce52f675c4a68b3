// SPDX-License-Identifier: BSL-1.0
// The scenarios of mutant_test.cpp: servers and clients in simulated worlds that say which properties hold, and what
// they share.
#pragma once

#include <chainring/chainring.hpp>
#include <chainring/sim.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace scenarios {

using namespace chainring;
using namespace std::chrono_literals;

void accepts(sim::World& world);
void connects(sim::World& world);
void greetings(sim::World& world);
void hops(sim::World& world);
void pauses(sim::World& world);
void senders(sim::World& world);

constexpr std::uint16_t port = 7000;
constexpr auto any_address = "0.0.0.0:7000";

// The first property that this seed has broken. The run goes on: nobody leaves a Scope for it.
extern std::string broken;

void hold(bool condition, std::string_view property);

inline std::uint64_t below(sim::World& world, std::uint64_t bound) {
    return world.random() % bound;
}
inline Duration up_to(sim::World& world, Duration most) {
    return Duration(static_cast<Duration::rep>(below(world, static_cast<std::uint64_t>(most.count()))));
}
inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// A stream of which every byte tells its place.
inline char byte_at(std::size_t offset) {
    return static_cast<char>(0x80 | ((offset * 31 + offset / 251) & 0x7f));
}
inline std::string stream(std::size_t offset, std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t at = 0; at < size; ++at) text[at] = byte_at(offset + at);
    return text;
}

RuntimeOptions with_workers(unsigned workers, unsigned buffers, unsigned buffer_size);

// Until the client has ended; then the server is told to stop, and does.
void play(sim::World& world, sim::Host& server, sim::Host& client);

// A world may abort a connection that waits to be accepted: a client is in when the server has said so.
Task<Link> enter(Address server);

}  // namespace scenarios
