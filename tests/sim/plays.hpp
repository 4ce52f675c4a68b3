// SPDX-License-Identifier: BSL-1.0
// A play: a sample, unchanged, with clients on other hosts, in a simulated world. Each throws when a rule is broken.
#pragma once

#include <chainring/sim.hpp>

#include "tests/sim/stage.hpp"

#include <array>
#include <string_view>

Figures play_echo(chainring::sim::World& world, const Scale& scale);
Figures play_chat(chainring::sim::World& world, const Scale& scale);
Figures play_relay(chainring::sim::World& world, const Scale& scale);

struct Play {
    std::string_view name;
    Figures (*perform)(chainring::sim::World& world, const Scale& scale);
};
inline constexpr std::array<Play, 3> plays = {{{"echo", play_echo}, {"chat", play_chat}, {"relay", play_relay}}};
