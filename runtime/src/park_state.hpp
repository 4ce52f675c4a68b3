// SPDX-License-Identifier: BSL-1.0
// ParkState: decides whether a worker that was handed work needs a system call to notice it.
//
//   worker                                   producer
//   1 announce(): state = parked (seq_cst)   a push to the inbox (seq_cst)
//   2 re-check the inbox                     b must_wake(): if state == parked, take it back to running
//   3 sleep in the kernel                    c a system call, if b took it
//   4 running(): state = running
//
// Every access named is seq_cst, so either 2 sees a or b sees 1: a wake cannot be lost. Exactly one of many
// producers takes the state back, so a sleeping worker costs one system call however many push.
#pragma once

#include <chainring/config.hpp>

#include <atomic>
#include <cstdint>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <template <class> class Atomic = std::atomic>
class ParkState {
public:
    void announce() noexcept { state_.exchange(parked, std::memory_order_seq_cst); }
    void running() noexcept { state_.store(awake, std::memory_order_relaxed); }  // a late wake is harmless
    bool must_wake() noexcept {
        return state_.load(std::memory_order_seq_cst) == parked &&
               state_.exchange(awake, std::memory_order_seq_cst) == parked;
    }

private:
    static constexpr std::uint32_t awake = 0;
    static constexpr std::uint32_t parked = 1;
    alignas(64) Atomic<std::uint32_t> state_{awake};
};

}  // namespace detail
CHAINRING_END_NAMESPACE
