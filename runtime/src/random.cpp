// SPDX-License-Identifier: BSL-1.0
#include <chainring/random.hpp>

#include <array>
#include <bit>
#include <chrono>
#include <random>

CHAINRING_BEGIN_NAMESPACE

namespace {

// xoshiro256** (Blackman, Vigna: Scrambled linear pseudorandom number generators, 2018), its state filled by splitmix64
// (Steele, Lea, Flood 2014).
class Generator {
public:
    Generator() noexcept {
        std::uint64_t start = seed();
        for (std::uint64_t& word : state_) {
            std::uint64_t mixed = start += 0x9e3779b97f4a7c15;
            mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
            mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
            word = mixed ^ (mixed >> 31);
        }
    }
    std::uint64_t next() noexcept {
        const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
        const std::uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }

private:
    std::uint64_t seed() noexcept {
        try {
            std::random_device device;
            const std::uint64_t high = device();
            return (high << 32) ^ device();
        } catch (...) {  // no source of entropy: what differs from thread to thread and from run to run
            return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()) ^
                   std::bit_cast<std::uintptr_t>(this);
        }
    }
    std::array<std::uint64_t, 4> state_{};
};

}  // namespace

// Not inlined: a thread-local address must not be kept across a suspension.
[[gnu::noinline]] std::uint64_t random() noexcept {
    thread_local Generator generator;
    return generator.next();
}

CHAINRING_END_NAMESPACE
