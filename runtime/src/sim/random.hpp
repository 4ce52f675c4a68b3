// SPDX-License-Identifier: BSL-1.0
// Random: where every choice of a simulated world comes from. The same seed gives the same choices on every machine,
// compiler and library, which is why nothing of <random> and no std::shuffle is used: those may differ between
// libraries. One thread.
//
// The generator is xoshiro256** of Blackman and Vigna ("Scrambled linear pseudorandom number generators", 2018), its
// state filled by splitmix64 as they recommend.
#pragma once

#include <chainring/config.hpp>
#include <chainring/trap.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

class Random {
public:
    explicit Random(std::uint64_t seed) noexcept {
        for (std::uint64_t& word : state_) {
            seed += 0x9e37'79b9'7f4a'7c15;
            std::uint64_t mixed = seed;
            mixed = (mixed ^ (mixed >> 30)) * 0xbf58'476d'1ce4'e5b9;
            mixed = (mixed ^ (mixed >> 27)) * 0x94d0'49bb'1331'11eb;
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

    // 0 to n - 1, each as likely as the others: what would favour some of them is drawn again. n > 0.
    std::uint64_t below(std::uint64_t n) noexcept {
        CHAINRING_REQUIRE(n > 0, "a random number below zero was asked for");
        const std::uint64_t excess = (0 - n) % n;  // 2^64 modulo n
        for (;;) {
            const std::uint64_t drawn = next();
            if (drawn >= excess) return drawn % n;
        }
    }
    // low to high, both included.
    std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept {
        return high <= low ? low : low + below(high - low + 1);
    }
    // True in `numerator` of `denominator` cases. What is impossible or certain draws nothing.
    bool chance(std::uint64_t numerator, std::uint64_t denominator) noexcept {
        if (numerator == 0) return false;
        return numerator >= denominator || below(denominator) < numerator;
    }
    template <class Items>
    auto& pick(Items& from) noexcept {
        return from[static_cast<std::size_t>(below(from.size()))];
    }
    // Fisher and Yates.
    template <class Items>
    void shuffle(Items& items) noexcept {
        for (std::size_t left = items.size(); left > 1; --left) {
            const auto other = static_cast<std::size_t>(below(left));
            std::swap(items[left - 1], items[other]);
        }
    }
    // Another generator, whose draws do not move this one: for a part of the world that is to choose on its own.
    Random fork() noexcept { return Random(next()); }

private:
    std::array<std::uint64_t, 4> state_{};
};

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
