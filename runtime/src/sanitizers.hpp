// SPDX-License-Identifier: BSL-1.0
// Marks memory that nobody may touch, so that AddressSanitizer reports a use of a receive buffer that was given back.
// Without the sanitizer these are empty.
#pragma once

#include <chainring/config.hpp>

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define CHAINRING_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHAINRING_ASAN 1
#endif
#endif

#ifdef CHAINRING_ASAN
#include <sanitizer/asan_interface.h>
#endif

#if defined(__SANITIZE_THREAD__)
#define CHAINRING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHAINRING_TSAN 1
#endif
#endif

#ifdef CHAINRING_TSAN
#include <unistd.h>
#endif

CHAINRING_BEGIN_NAMESPACE
namespace detail {

inline void poison([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef CHAINRING_ASAN
    ASAN_POISON_MEMORY_REGION(memory, bytes);
#endif
}

inline void unpoison([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef CHAINRING_ASAN
    ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
#endif
}

// ThreadSanitizer runs signal handlers only inside of calls that it intercepts, and io_uring_enter is none.
inline void let_signals_in() noexcept {
#ifdef CHAINRING_TSAN
    ::usleep(0);
#endif
}

}  // namespace detail
CHAINRING_END_NAMESPACE
