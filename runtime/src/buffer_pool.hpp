// SPDX-License-Identifier: BSL-1.0
// BufferPool: the receive buffers of one worker, lent out as Segments. An idle Link holds none, but for a forward since
// which its worker has slept. The owner takes and returns without atomics; any other thread returns through a lock-free
// stack that the owner empties once per pass.
//
// Flow control. Buffers go to the kernel's ring (uring) or a free list (epoll) as soon as they are back. When fewer
// than a quarter are in, the pool is `scarce`: Links then copy what they have queued to heap segments (spill) and give
// the buffers back, so that peers whose data nobody reads cannot hold the pool.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include "runtime/src/inbox.hpp"
#include "runtime/src/sanitizers.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class BufferPool;
class Worker;

// A run of received bytes: a lent buffer of a pool, or a heap block that the header sits in front of. It has one owner
// at a time (the kernel, a Link's queue, a Chunk, a send in progress).
struct Segment {
    Segment* next = nullptr;
    std::byte* data = nullptr;
    std::uint32_t size = 0;
    std::uint16_t index = 0;     // of the buffer in its pool
    std::uint32_t capacity = 0;  // heap: bytes that the block has room for
    BufferPool* pool = nullptr;  // null: heap
    Instant arrived{};           // of the first byte that was put in; the epoch where nobody asked

    static Segment* allocate(std::size_t capacity);             // heap, empty; throws std::bad_alloc
    static Segment* copy_of(std::span<const std::byte> bytes);  // heap; throws std::bad_alloc
    // Bytes that can still be written behind those in it: none when the front was consumed or the buffer is lent.
    std::size_t room() const noexcept {
        return pool || data != reinterpret_cast<const std::byte*>(this + 1) ? 0 : capacity - size;
    }
    void drop_front(std::size_t bytes) noexcept {
        data += bytes;
        size -= static_cast<std::uint32_t>(bytes);
    }
    // Gives the segment back to where it came from. Any thread.
    void release() noexcept;
    static void release_all(Segment* first) noexcept {  // of a list
        while (first) std::exchange(first, first->next)->release();
    }
};

class BufferPool {
public:
    BufferPool(unsigned count, unsigned buffer_size);
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;
    virtual ~BufferPool();

    void set_owner(Worker& worker) noexcept { owner_ = &worker; }

    // Owner: marks buffer `index` as lent with `size` bytes in it.
    Segment* lend(unsigned index, std::uint32_t size) noexcept {
        Segment& segment = segments_[index];
        segment.next = nullptr;
        segment.data = buffer(index);
        segment.size = size;
        segment.arrived = {};
        unpoison(segment.data, size);
        ++lent_;
        return &segment;
    }
    // Owner.
    void take_back(Segment& segment) noexcept {
        end_loan(segment);
        recycle(segment.index);
    }
    // Any thread.
    void give_back(Segment& segment) noexcept;
    // Owner: takes in what other threads returned. True if there was anything.
    bool collect() noexcept;
    bool any_returned() const noexcept { return !returned_.empty(); }

    unsigned count() const noexcept { return count_; }
    unsigned buffer_size() const noexcept { return buffer_size_; }
    unsigned lent() const noexcept { return lent_; }
    unsigned available() const noexcept { return count_ - lent_; }
    bool scarce() const noexcept { return lent_ > most_unscarce_; }

    // Owner: somebody waits for a buffer, so that a return from another thread has to wake the owner.
    void set_starving(bool starving) noexcept { starving_.store(starving, std::memory_order_seq_cst); }

protected:
    std::byte* buffer(unsigned index) const noexcept { return memory_ + std::size_t{index} * buffer_size_; }
    // Hands buffer `index` back to whoever fills it.
    virtual void recycle(unsigned index) noexcept = 0;
    void end_loan(const Segment& segment) noexcept {
        poison(buffer(segment.index), buffer_size_);
        --lent_;
    }

private:
    unsigned count_;
    unsigned buffer_size_;
    unsigned lent_ = 0;
    unsigned most_unscarce_;  // lent
    std::byte* memory_ = nullptr;
    std::unique_ptr<Segment[]> segments_;
    Worker* owner_ = nullptr;
    Inbox<Segment> returned_;
    std::atomic<bool> starving_{false};  // written by the owner, read by returners; seq_cst against the push before it
};

}  // namespace detail
CHAINRING_END_NAMESPACE
