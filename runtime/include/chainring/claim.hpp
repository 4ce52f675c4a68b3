// SPDX-License-Identifier: BSL-1.0
// ClaimWord: one per wait; decides which of several contenders (completion, limit, cancel, close) ends it. Not for
// users.
//
//   none    the wait has not ended. The one who waits may still be on its way to being published: only then settle()
//           may be used, by the waiter itself.
//   reason  somebody has moved the word from none, once, and has won. The winner alone stores the outcome and schedules
//           the task; whoever finds a reason there has lost and leaves the wait alone.
//
// If cancel wins: the word holds `cancelled` for good, and a grant that comes later passes this wait over. If it loses,
// it does nothing: what was granted is delivered.
//
// Written over an atomics policy: `Atomic` is std::atomic in production and an instrumented type in model tests.
#pragma once

#include <chainring/config.hpp>

#include <atomic>
#include <cstdint>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// Why a wait ended. The claim word holds one of these.
enum class Wake : std::uint8_t { none, completed, timed_out, cancelled, closed, shutting_down };

template <template <class> class Atomic>
class ClaimWord {
public:
    // Any contender, any thread. True for one of them.
    // acq_rel: the winner sees what the waiter published, and the resumed task sees what the winner stored. A loser
    // acquires what the winner had stored before it claimed.
    bool try_claim(Wake why) noexcept {
        Wake expected = Wake::none;
        return word_.compare_exchange_strong(expected, why, std::memory_order_acq_rel, std::memory_order_acquire);
    }

    // The reason, or none. Acquire: pairs with the winner's claim.
    Wake outcome() const noexcept { return word_.load(std::memory_order_acquire); }

    // For a wait that ends before it was published. Relaxed: nobody else knows of it.
    void settle(Wake why) noexcept { word_.store(why, std::memory_order_relaxed); }

    // try_claim() where all contenders are one worker's: no read-modify-write. Release: as there.
    bool try_claim_alone(Wake why) noexcept {
        if (word_.load(std::memory_order_relaxed) != Wake::none) return false;
        word_.store(why, std::memory_order_release);
        return true;
    }

private:
    Atomic<Wake> word_{Wake::none};
};

static_assert(sizeof(ClaimWord<std::atomic>) == sizeof(Wake), "every Waiter holds one");

}  // namespace detail
CHAINRING_END_NAMESPACE
