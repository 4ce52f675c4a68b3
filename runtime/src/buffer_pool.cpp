// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/buffer_pool.hpp"

#include <chainring/trap.hpp>

#include "runtime/src/worker.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <sys/mman.h>
#include <system_error>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

Segment* Segment::allocate(std::size_t capacity) {
    void* block = ::operator new(sizeof(Segment) + capacity);
    auto* segment = ::new (block) Segment;
    segment->data = static_cast<std::byte*>(block) + sizeof(Segment);
    segment->capacity = static_cast<std::uint32_t>(capacity);
    return segment;
}

Segment* Segment::copy_of(std::span<const std::byte> bytes) {
    Segment* segment = allocate(bytes.size());
    segment->size = static_cast<std::uint32_t>(bytes.size());
    if (!bytes.empty()) std::memcpy(segment->data, bytes.data(), bytes.size());
    return segment;
}

void Segment::release() noexcept {
    if (pool) {
        pool->give_back(*this);
        return;
    }
    this->~Segment();
    ::operator delete(this);
}

BufferPool::BufferPool(unsigned count, unsigned buffer_size)
    : count_(count),
      buffer_size_(buffer_size),
      most_unscarce_(count - std::max(1U, count / 4)),
      segments_(std::make_unique<Segment[]>(count)) {
    void* memory =
        ::mmap(nullptr, std::size_t{count} * buffer_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::system_error(errno, std::system_category(), "chainring: receive buffers");
    memory_ = static_cast<std::byte*>(memory);
    for (unsigned index = 0; index < count; ++index) {
        segments_[index].index = static_cast<std::uint16_t>(index);
        segments_[index].pool = this;
        poison(buffer(index), buffer_size_);
    }
}

BufferPool::~BufferPool() {
    for (Segment* segment = returned_.take_all(); segment; segment = segment->next) --lent_;
    CHAINRING_REQUIRE(lent_ == 0, "a Chunk outlived the Runtime that lent it");
    unpoison(memory_, std::size_t{count_} * buffer_size_);
    ::munmap(memory_, std::size_t{count_} * buffer_size_);
}

void BufferPool::give_back(Segment& segment) noexcept {
    if (Worker::current() == owner_) {  // also without a worker on either side: a backend that is tested alone
        take_back(segment);
        return;
    }
    const Worker::Guest guest(*owner_);
    returned_.push(segment);
    if (starving_.load(std::memory_order_seq_cst)) owner_->wake_if_parked();
}

bool BufferPool::collect() noexcept {
    Segment* segment = returned_.take_all();
    if (!segment) return false;
    while (segment) {
        Segment* next = segment->next;
        take_back(*segment);
        segment = next;
    }
    return true;
}

}  // namespace detail
CHAINRING_END_NAMESPACE
