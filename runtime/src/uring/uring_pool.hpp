// SPDX-License-Identifier: BSL-1.0
// UringPool: receive buffers that the kernel takes from a ring in memory that both sides map
// (io_uring_register_buf_ring(3)). Owned by one UringBackend; its worker's thread.
#pragma once

#include "runtime/src/buffer_pool.hpp"

#include <liburing.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class UringPool final : public BufferPool {
public:
    static constexpr int group = 1;
    UringPool(io_uring& ring, unsigned count, unsigned buffer_size);
    ~UringPool() override;
    void take_back(Segment& segment) noexcept {  // as BufferPool's, but nothing is virtual
        end_loan(segment);
        UringPool::recycle(segment.index);
    }
    // One release store makes everything recycled since the last call visible to the kernel.
    void publish() noexcept {
        if (unpublished_ == 0) return;
        io_uring_buf_ring_advance(ring_, unpublished_);
        unpublished_ = 0;
    }

protected:
    void recycle(unsigned index) noexcept override {
        io_uring_buf_ring_add(ring_, buffer(index), buffer_size(), static_cast<unsigned short>(index),
                              static_cast<int>(count() - 1), unpublished_++);
    }

private:
    io_uring_buf_ring* ring_ = nullptr;
    int unpublished_ = 0;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
