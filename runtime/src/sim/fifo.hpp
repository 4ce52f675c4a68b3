// SPDX-License-Identifier: BSL-1.0
// Queues that keep their memory: thousands of worlds are run per second, and none is to allocate for each segment.
#pragma once

#include <chainring/config.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

// First in, first out, in a ring of a power of two that only grows.
template <class T>
class Fifo {
public:
    bool empty() const noexcept { return size_ == 0; }
    std::size_t size() const noexcept { return size_; }
    T& front() noexcept { return ring_[head_]; }
    T& back() noexcept { return at(size_ - 1); }
    T& at(std::size_t index) noexcept { return ring_[(head_ + index) & (ring_.size() - 1)]; }
    void push(const T& item) {
        if (size_ == ring_.size()) grow();
        at(size_++) = item;
    }
    T pop() noexcept {
        T item = ring_[head_];
        head_ = (head_ + 1) & (ring_.size() - 1);
        --size_;
        return item;
    }
    void clear() noexcept { head_ = size_ = 0; }
    // Takes out every item that is equal, the others keep their order.
    void remove(const T& item) noexcept {
        std::size_t kept = 0;
        for (std::size_t index = 0; index < size_; ++index)
            if (!(at(index) == item)) at(kept++) = at(index);
        size_ = kept;
    }

private:
    void grow() {
        std::vector<T> larger(std::max<std::size_t>(8, ring_.size() * 2));
        for (std::size_t index = 0; index < size_; ++index) larger[index] = at(index);
        ring_.swap(larger);
        head_ = 0;
    }
    std::vector<T> ring_;
    std::size_t head_ = 0;
    std::size_t size_ = 0;
};

// Bytes: put in at the back, taken out at the front or dropped at the back.
class ByteQueue {
public:
    std::size_t size() const noexcept { return size_; }
    void push(std::span<const std::byte> bytes) {
        if (bytes.empty()) return;
        if (size_ + bytes.size() > ring_.size()) grow(size_ + bytes.size());
        const std::size_t tail = (head_ + size_) & (ring_.size() - 1);
        const std::size_t first = std::min(bytes.size(), ring_.size() - tail);
        std::memcpy(ring_.data() + tail, bytes.data(), first);
        if (first < bytes.size()) std::memcpy(ring_.data(), bytes.data() + first, bytes.size() - first);
        size_ += bytes.size();
    }
    // Fills `into`; there are at least as many.
    void pop(std::span<std::byte> into) noexcept {
        if (into.empty()) return;
        const std::size_t first = std::min(into.size(), ring_.size() - head_);
        std::memcpy(into.data(), ring_.data() + head_, first);
        if (first < into.size()) std::memcpy(into.data() + first, ring_.data(), into.size() - first);
        drop_front(into.size());
    }
    void drop_front(std::size_t bytes) noexcept {
        size_ -= bytes;
        head_ = size_ == 0 ? 0 : (head_ + bytes) & (ring_.size() - 1);
    }
    void drop_back(std::size_t bytes) noexcept { size_ -= bytes; }
    void clear() noexcept { head_ = size_ = 0; }

private:
    void grow(std::size_t wanted) {
        std::vector<std::byte> larger(std::bit_ceil(std::max<std::size_t>(wanted, 1024)));
        const std::size_t held = size_;
        pop({larger.data(), held});
        ring_.swap(larger);
        head_ = 0;
        size_ = held;
    }
    std::vector<std::byte> ring_;
    std::size_t head_ = 0;
    std::size_t size_ = 0;
};

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
