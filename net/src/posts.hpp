// SPDX-License-Identifier: BSL-1.0
// Posts: what the Outboxes of a Link share, a block of its own that the first outbox() makes. Any thread.
#pragma once

#include <chainring/link_operations.hpp>
#include <chainring/outbox.hpp>

#include "net/src/outbox_core.hpp"

CHAINRING_BEGIN_NAMESPACE
namespace detail {

struct Posts {
    OutboxCore<WaitQueue, SendUnit> core;
};

// A message in the core's list or, once home has taken it, in the Link's queue.
struct PostUnit : SendUnit {
    // Takes one count of the payload over.
    PostUnit(Posts& of, PayloadBlock* payload) noexcept;
    PostUnit(const PostUnit&) = delete;
    PostUnit& operator=(const PostUnit&) = delete;
    ~PostUnit();
    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
    static void operator delete(void* memory, std::size_t bytes) noexcept { free_frame(memory, bytes); }

    Posts& posts;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
