// SPDX-License-Identifier: BSL-1.0
// Chunk: received bytes, lent. They lie in one or more pieces, usually in the receive buffers of the worker, which get
// them back when the Chunk is destroyed, moved into send(), or consumed. Copy what is to be kept: buffers are few.
//
// Ownership: move-only. Threads: one at a time, any; it may be destroyed on a thread of its own choice. It must not
// outlive the Runtime (trap). Its bytes do not change while it holds them.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {
struct Segment;
class FrameSource;
class LinkState;
}  // namespace detail

class Chunk {
public:
    Chunk() noexcept = default;
    Chunk(Chunk&& other) noexcept
        : first_(std::exchange(other.first_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Chunk& operator=(Chunk&& other) noexcept {
        if (this != &other) {
            clear();
            first_ = std::exchange(other.first_, nullptr);
            size_ = std::exchange(other.size_, 0);
        }
        return *this;
    }
    ~Chunk() { clear(); }

    std::size_t size() const noexcept { return size_; }  // bytes in all pieces
    bool empty() const noexcept { return size_ == 0; }

    // The first piece; empty only when the Chunk is. Valid until the Chunk is changed.
    std::span<const std::byte> front() const noexcept;
    // When the first piece was delivered by the kernel; of small pieces that were gathered in one, the earliest. Only
    // of what was received with .stamped(); else, and of an empty Chunk, Instant{}.
    Instant arrived() const noexcept;
    // Drops `bytes` (at most size()) from the front; buffers that become empty go back at once.
    void consume(std::size_t bytes) noexcept;

    // Calls visit(std::span<const std::byte>) for each piece in order.
    template <class Visit>
    void for_each(Visit&& visit) const {
        for (const detail::Segment* at = first_; at; at = next(at)) visit(bytes_of(at));
    }

    // Copies the first min(size(), out.size()) bytes, and says how many.
    std::size_t copy_to(std::span<std::byte> out) const noexcept;
    std::string to_string() const;

private:
    friend class detail::LinkState;
    friend class detail::FrameSource;
    friend class SendOp;
    friend class ForwardOp;
    friend class RecvOp;
    Chunk(detail::Segment* first, std::size_t size) noexcept : first_(first), size_(size) {}
    static const detail::Segment* next(const detail::Segment* segment) noexcept;
    static std::span<const std::byte> bytes_of(const detail::Segment* segment) noexcept;
    void clear() noexcept {
        if (first_) release();
    }
    void release() noexcept;

    detail::Segment* first_ = nullptr;
    std::size_t size_ = 0;
};

// Views of text as bytes and back, for the calls that take and give spans.
inline std::span<const std::byte> as_bytes(std::string_view text) noexcept {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(std::span<const std::byte> bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

CHAINRING_END_NAMESPACE
