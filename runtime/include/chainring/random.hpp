// SPDX-License-Identifier: BSL-1.0
// random(): numbers for what should not happen everywhere at once (jitter, sampling, choosing a peer). Not for secrets.
#pragma once

#include <chainring/config.hpp>

#include <cstdint>

CHAINRING_BEGIN_NAMESPACE

// 64 evenly distributed bits, of the calling thread's own generator (xoshiro256**), which is seeded from
// std::random_device; in a simulated world from its seed. Any thread.
std::uint64_t random() noexcept;

CHAINRING_END_NAMESPACE
