// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/sim/random.hpp"

#include <chainring/random.hpp>

#include "runtime/src/sim/simulation.hpp"

#include <bit>
#include <chrono>
#include <random>

CHAINRING_BEGIN_NAMESPACE

namespace {

std::uint64_t real_seed(const void* differs_by_thread) noexcept {
    try {
        std::random_device device;
        const std::uint64_t high = device();
        return (high << 32) ^ device();
    } catch (...) {  // no source of entropy: what differs from thread to thread and from run to run
        return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()) ^
               std::bit_cast<std::uintptr_t>(differs_by_thread);
    }
}

}  // namespace

// Not inlined: a thread-local address must not be kept across a suspension.
[[gnu::noinline]] std::uint64_t random() noexcept {
    if (detail::sim::Simulation* world = detail::sim::Simulation::current()) return world->users_random().next();
    thread_local detail::sim::Random generator(real_seed(&generator));
    return generator.next();
}

CHAINRING_END_NAMESPACE
