// SPDX-License-Identifier: BSL-1.0
// What has arrived on a Link and was not received: the queue of segments, what is copied out of lent buffers, and how
// receives take from it. Home worker.
#include "net/src/link_state.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {
constexpr std::size_t spill_block = 4096;  // heap segments that small ones are gathered in
}  // namespace

void LinkState::append_unread(Segment* segment) noexcept {
    unread_bytes_ += segment->size;
    if (segment->pool) has_lent_ = true;
    (unread_tail_ ? unread_tail_->next : unread_head_) = segment;
    unread_tail_ = segment;
}

void LinkState::queue_segment(Segment* segment) noexcept {
    if (stamps_) segment->arrived = home().now();
    const bool small = segment->size <= spill_small;
    if (small && reader_ && reader_->accumulates_) {
        spill(*segment);
        segment->release();
    } else {
        append_unread(segment);
    }
    if (reader_) advance_reader();
    if (home().buffers().scarce()) [[unlikely]]
        spill_lent();
    if (reader_) return;
    // A task that has been woken may be about to receive it: it is copied when that has not come to pass.
    if (small && has_lent_) {
        holds_small_ = true;
        home().flush_later(*this);
    }
    if (unread_bytes_ < read_ahead) return;
    recv_op().burst = 1;
    pause_recv();
}

// Copies bytes behind the queue: into the last segment where it is a heap block with room, else into a new one.
void LinkState::spill(const Segment& segment) noexcept {
    std::span<const std::byte> bytes(segment.data, segment.size);
    home().count_spill();
    unread_bytes_ += bytes.size();
    if (unread_tail_) {
        const std::size_t part = std::min(bytes.size(), unread_tail_->room());
        std::memcpy(unread_tail_->data + unread_tail_->size, bytes.data(), part);
        unread_tail_->size += static_cast<std::uint32_t>(part);
        bytes = bytes.subspan(part);
        if (bytes.empty()) return;
    }
    Segment* block = Segment::allocate(std::max(bytes.size(), spill_block - sizeof(Segment)));
    std::memcpy(block->data, bytes.data(), bytes.size());
    block->size = static_cast<std::uint32_t>(bytes.size());
    block->arrived = segment.arrived;
    (unread_tail_ ? unread_tail_->next : unread_head_) = block;
    unread_tail_ = block;
}

// Gives those lent buffers in the queue back that hold at most so many bytes, and keeps the bytes.
void LinkState::spill_lent(std::size_t largest) noexcept {
    holds_small_ = false;
    if (!has_lent_) return;
    has_lent_ = false;
    Segment* segment = std::exchange(unread_head_, nullptr);
    unread_tail_ = nullptr;
    unread_bytes_ = 0;
    while (segment) {
        Segment* following = std::exchange(segment->next, nullptr);
        if (segment->pool && segment->size <= largest) {
            spill(*segment);
            segment->release();
        } else {
            append_unread(segment);
        }
        segment = following;
    }
}

void LinkState::drop_unread() noexcept {
    Segment::release_all(std::exchange(unread_head_, nullptr));
    unread_tail_ = nullptr;
    unread_bytes_ = 0;
}

std::size_t LinkState::take_unread(std::span<std::byte> into) noexcept {
    std::size_t copied = 0;
    while (copied < into.size() && unread_head_) {
        Segment& segment = *unread_head_;
        const std::size_t part = std::min<std::size_t>(segment.size, into.size() - copied);
        std::memcpy(into.data() + copied, segment.data, part);
        copied += part;
        segment.drop_front(part);
        if (segment.size > 0) break;
        unread_head_ = segment.next;
        if (!unread_head_) unread_tail_ = nullptr;
        segment.release();
    }
    unread_bytes_ -= copied;
    return copied;
}

std::size_t LinkState::copy_unread(std::span<std::byte> into) const noexcept {
    std::size_t copied = 0;
    for (const Segment* at = unread_head_; at && copied < into.size(); at = at->next) {
        const std::size_t part = std::min<std::size_t>(at->size, into.size() - copied);
        std::memcpy(into.data() + copied, at->data, part);
        copied += part;
    }
    return copied;
}

void LinkState::put_back(std::span<const std::byte> bytes, Instant arrived) {
    if (bytes.empty()) return;
    Segment* segment = Segment::copy_of(bytes);
    segment->arrived = arrived;
    segment->next = unread_head_;
    unread_head_ = segment;
    if (!unread_tail_) unread_tail_ = segment;
    unread_bytes_ += bytes.size();
}

void LinkState::stamp_arrivals() noexcept {
    if (stamps_) return;
    stamps_ = true;
    const Instant now = home().now();
    for (Segment* at = unread_head_; at; at = at->next) at->arrived = now;
}

}  // namespace detail
CHAINRING_END_NAMESPACE
