// SPDX-License-Identifier: BSL-1.0
// relay: copies between two Links, both directions at once, until both have ended.
//
// - When one Link's peer ends its direction, what it sent is passed on and then the end itself (half close).
// - An error in either direction resets both Links; the first error is in the outcome.
// - Memory: what is being passed on, at most two Chunks in each direction, and the Links' read-ahead. A slow side
//   closes the other's TCP window.
// - Completes when both directions have ended. While the runtime drains it goes on; a cancel ends it.
// - Nobody else receives from the two Links meanwhile. They may live on different workers.
#pragma once

#include <chainring/config.hpp>
#include <chainring/link.hpp>
#include <chainring/task.hpp>
#include <chainring/token_bucket.hpp>

#include <cstdint>
#include <system_error>

CHAINRING_BEGIN_NAMESPACE

struct RelayOutcome {
    RelayOutcome() noexcept = default;
    // Bytes passed on from the first Link to the second, and from the second to the first. After an error the last
    // Chunk that is counted may not have gone as a whole (Link::forward).
    std::uint64_t forward = 0;
    std::uint64_t backward = 0;
    std::error_code error;  // none when both directions ended in order
};

// Limits on the bytes of each direction; null: none. Other relays may share the buckets, which outlive them. What has
// been passed on is paid for before the next receive, so that nothing waits for tokens here and the slow side's peer
// feels it as a closed window.
struct RelayLimits {
    TokenBucket* forward = nullptr;   // from the first Link to the second
    TokenBucket* backward = nullptr;  // from the second to the first
};

Task<RelayOutcome> relay(Link& first, Link& second, RelayLimits limits = {});

CHAINRING_END_NAMESPACE
