// SPDX-License-Identifier: BSL-1.0
// Servers and clients in simulated worlds, whose properties hold on the library and break on the copies with planted
// bugs (tests/sim/mutants):
//
//     <program> <scenario> <seeds>           no seed may break a property
//     <program> <scenario> <seeds> --find   one of the seeds has to; tells which, and how
//
// CHAINRING_SEED runs one seed alone. See docs/design/simulator.md, "Planted bugs".
#include "tests/sim/scenarios.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>

using namespace scenarios;

namespace {

struct Scenario {
    std::string_view name;
    void (*run)(sim::World&);
};

constexpr std::array all = {
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
    const auto scenario = std::ranges::find(all, name, &Scenario::name);
    std::uint64_t seeds = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
    const bool find = argc > 3 && std::string_view(argv[3]) == "--find";
    if (scenario == all.end() || seeds == 0) {
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
