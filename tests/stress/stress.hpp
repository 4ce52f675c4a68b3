// SPDX-License-Identifier: BSL-1.0
// What the stress tests share: how long they last, and a printed seed.
#pragma once

#include "tests/unit/support.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace support {

inline std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

// `full` rounds in a release build, fewer under sanitizers, times CHAINRING_STRESS.
inline std::uint64_t rounds(std::uint64_t full) {
#if defined(CHAINRING_NO_RECYCLING)
    full = full / 20 + 1;
#endif
    return full * number_from("CHAINRING_STRESS", 1);
}

inline std::uint64_t seed() {
    static const std::uint64_t chosen = [] {
        // The kind simulated world is the same each time.
        const std::uint64_t otherwise = wanted_backend() == "sim" ? 1 : std::random_device()();
        const std::uint64_t value = number_from("CHAINRING_SEED", otherwise);
        std::printf("CHAINRING_SEED=%llu\n", static_cast<unsigned long long>(value));
        return value;
    }();
    return chosen;
}

inline RuntimeOptions workers(unsigned count, Steal steal) {
    RuntimeOptions options = one_worker();
    options.workers = count;
    options.steal = steal;
    return options;
}

}  // namespace support
