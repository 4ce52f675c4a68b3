// SPDX-License-Identifier: BSL-1.0
#include <chainring/chunk.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/buffer_pool.hpp"

#include <algorithm>
#include <cstring>

CHAINRING_BEGIN_NAMESPACE

const detail::Segment* Chunk::next(const detail::Segment* segment) noexcept {
    return segment->next;
}

std::span<const std::byte> Chunk::bytes_of(const detail::Segment* segment) noexcept {
    return {segment->data, segment->size};
}

std::span<const std::byte> Chunk::front() const noexcept {
    return first_ ? bytes_of(first_) : std::span<const std::byte>();
}

Instant Chunk::arrived() const noexcept {
    return first_ ? first_->arrived : Instant();
}

void Chunk::consume(std::size_t bytes) noexcept {
    CHAINRING_REQUIRE(bytes <= size_, "a Chunk cannot be consumed past its end");
    size_ -= bytes;
    while (bytes > 0) {
        const std::size_t part = std::min<std::size_t>(bytes, first_->size);
        first_->data += part;
        first_->size -= static_cast<std::uint32_t>(part);
        bytes -= part;
        if (first_->size > 0) return;
        std::exchange(first_, first_->next)->release();
    }
}

std::size_t Chunk::copy_to(std::span<std::byte> out) const noexcept {
    std::size_t copied = 0;
    for (const detail::Segment* at = first_; at && copied < out.size(); at = at->next) {
        const std::size_t part = std::min<std::size_t>(at->size, out.size() - copied);
        std::memcpy(out.data() + copied, at->data, part);
        copied += part;
    }
    return copied;
}

std::string Chunk::to_string() const {
    std::string text;
    text.reserve(size_);
    for_each([&](std::span<const std::byte> piece) { text += as_text(piece); });
    return text;
}

void Chunk::release() noexcept {
    detail::Segment::release_all(std::exchange(first_, nullptr));
    size_ = 0;
}

CHAINRING_END_NAMESPACE
