// SPDX-License-Identifier: BSL-1.0
#include "tests/sim/samples.hpp"

#include <utility>

std::FILE* nowhere() {
    static std::FILE* const null = std::fopen("/dev/null", "w");
    return null;
}

// stdout is a variable in glibc, which programs may set.
Silence::Silence() : before_(std::exchange(stdout, nowhere())) {}

Silence::~Silence() {
    stdout = before_;
}
