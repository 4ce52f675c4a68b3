// SPDX-License-Identifier: BSL-1.0
// The plays of the samples: what seeds come to on every compiler and build, and each wait struck once. chainring_seeds
// plays them over many seeds.
#include "tests/sim/plays.hpp"

#include <array>
#include <cstdint>
#include <doctest/doctest.h>
#include <string>
#include <string_view>

using namespace chainring;

namespace {

struct Expected {
    std::string_view sample;
    std::uint64_t seed;
    std::uint64_t hash;
};
constexpr auto expected = std::to_array<Expected>({
#include "tests/sim/hashes.inc"
});

const Play& play_named(std::string_view name) {
    for (const Play& play : plays)
        if (play.name == name) return play;
    throw Broken("there is no such play");
}

// A short session, in which every wait of servers and clients is struck once.
void strike_everywhere(std::string_view name, sim::Strike kind) {
    Scale scale;
    scale.clients = 2;
    scale.messages = 3;
    scale.trouble = false;
    scale.servers_cut_short = kind != sim::Strike::reset;
    const std::uint64_t waits =
        sim::strike_everywhere(kind, 1, [&](sim::World& world) { play_named(name).perform(world, scale); });
    CHECK(waits > 20);
    MESSAGE(std::string(name), ": ", waits, " waits");
}

}  // namespace

// When a change of the library changes what happens, on purpose, the table is made anew:
//     build/release/tests/sim/chainring_seeds --hashes > tests/sim/hashes.inc
TEST_CASE("a seed has the same trace with every compiler, optimised or not, sanitized or not") {
    for (const Expected& one : expected) {
        CAPTURE(one.sample);
        CAPTURE(one.seed);
        sim::World world(one.seed);
        CHECK(play_named(one.sample).perform(world, Scale()).hash == one.hash);
    }
}

TEST_CASE("every wait of a session may be cancelled") {
    for (const Play& play : plays) strike_everywhere(play.name, sim::Strike::cancel);
}

TEST_CASE("every wait of a session may time out") {
    for (const Play& play : plays) strike_everywhere(play.name, sim::Strike::timeout);
}

TEST_CASE("at every wait of a session a connection may be reset") {
    for (const Play& play : plays) strike_everywhere(play.name, sim::Strike::reset);
}

TEST_CASE("at every wait of a session its process may be killed") {
    for (const Play& play : plays) strike_everywhere(play.name, sim::Strike::kill);
}
