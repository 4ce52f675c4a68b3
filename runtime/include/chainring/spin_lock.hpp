// SPDX-License-Identifier: BSL-1.0
// SpinLock: for critical sections of a few stores, entered so often that a mutex's two read-modify-writes show: taking
// it is one, giving it back is a plain store, and nothing of it is touched after that store, so that whoever gets it
// next may destroy what it is in. Test and test-and-set (Rudolph and Segall, 1984); a thread that waits longer than
// such a section takes gives its CPU away, for the owner has lost his. Not recursive, not fair. Not for users.
#pragma once

#include <chainring/config.hpp>

#include <atomic>
#include <thread>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class SpinLock {
public:
    void lock() noexcept {
        while (taken_.exchange(true, std::memory_order_acquire)) wait();  // pairs with unlock
    }
    bool try_lock() noexcept { return !taken_.exchange(true, std::memory_order_acquire); }
    void unlock() noexcept { taken_.store(false, std::memory_order_release); }

private:
    void wait() noexcept {
        for (unsigned spins = 0; taken_.load(std::memory_order_relaxed); ++spins) {
            if (spins > 100)
                std::this_thread::yield();
            else
                pause();
        }
    }
    static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }
    std::atomic<bool> taken_{false};
};

}  // namespace detail
CHAINRING_END_NAMESPACE
