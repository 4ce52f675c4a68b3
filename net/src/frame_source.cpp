// SPDX-License-Identifier: BSL-1.0
#include <chainring/frame_source.hpp>
#include <chainring/link.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/buffer_pool.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {
constexpr std::size_t largest_frame = std::size_t{1} << 30;
constexpr std::size_t smallest_block = 512;
// What is tried at a time while it is not known how much of a segment belongs to the frame.
constexpr std::size_t granule = 256;
}  // namespace

FrameSource::FrameSource(FrameSource&& other) noexcept
    : link_(other.link_),
      calls_(other.calls_),
      held_(std::exchange(other.held_, nullptr)),
      held_tail_(std::exchange(other.held_tail_, nullptr)),
      front_(std::exchange(other.front_, {})),
      block_(std::exchange(other.block_, nullptr)),
      message_(std::exchange(other.message_, {})),
      need_(std::exchange(other.need_, 1)),
      in_block_(std::exchange(other.in_block_, false)),
      error_(other.error_) {}

FrameSource::~FrameSource() {
    Segment::release_all(held_);
    if (block_) block_->release();
}

LinkState* FrameSource::state_of(const Link& link) noexcept {
    return link.state();
}

void FrameSource::feed(Segment* segments) noexcept {
    if (!segments) return;
    const bool none = held_ == nullptr;
    (none ? held_ : held_tail_->next) = segments;
    if (none) front_ = {segments->data, segments->size};
    while (segments->next) segments = segments->next;
    held_tail_ = segments;
}

std::size_t FrameSource::gathered() const noexcept {
    return block_ && !in_block_ ? block_->size : 0;
}

void FrameSource::drop_message() noexcept {
    message_ = {};
    if (std::exchange(in_block_, false)) block_->size = 0;
}

void FrameSource::shrink() noexcept {
    if (block_ && block_->size == 0) std::exchange(block_, nullptr)->release();
}

bool FrameSource::fail(std::error_code error) noexcept {
    error_ = error;
    return true;
}

// True while there are bytes in front_: of the first segment, or of the next after that is used up.
bool FrameSource::next_segment() noexcept {
    while (front_.empty() && held_) {
        std::exchange(held_, held_->next)->release();
        if (held_)
            front_ = {held_->data, held_->size};
        else
            held_tail_ = nullptr;
    }
    return !front_.empty();
}

// Asks the codec, if there is enough to ask about. True: it has found a frame or an error; an error is stored.
bool FrameSource::ask(std::span<const std::byte> input, DecodeStep& step) noexcept {
    if (input.size() < need_) return false;
    step = calls_->decode(*this, input);
    switch (step.kind()) {
        case DecodeStep::Kind::error:
            CHAINRING_REQUIRE(step.reason(), "a codec gave an error without saying which");
            return fail(step.reason());
        case DecodeStep::Kind::frame:
            CHAINRING_REQUIRE(step.begin() <= step.consumed() && step.size() <= step.consumed() - step.begin() &&
                                  step.consumed() <= input.size(),
                              "a codec found a frame that is not within its input");
            CHAINRING_REQUIRE(step.consumed() >= need_, "a codec found a frame shorter than what it had asked for");
            need_ = 1;
            message_ = input.subspan(step.begin(), step.size());
            return true;
        case DecodeStep::Kind::more:
            break;
    }
    need_ = std::max(step.total(), input.size() + 1);
    return need_ > max_ && fail(Errc::message_too_large);
}

bool FrameSource::next() noexcept {
    drop_message();
    if (error_) return true;
    max_ = std::clamp(calls_->max_frame(*this), std::size_t{1}, largest_frame);
    if (!block_ || block_->size == 0) {
        while (next_segment()) {
            if (in_place()) return true;
            if (block_ && block_->size > 0) break;
        }
    }
    return gather();
}

// Looks at the front of the first segment. False: it is a part of a frame, and has gone to the block.
bool FrameSource::in_place() noexcept {
    DecodeStep step = DecodeStep::more();
    const auto input = front_.first(std::min(front_.size(), max_));
    if (ask(input, step)) {
        front_ = front_.subspan(step.consumed());
        return true;
    }
    // The codec asked for more than the segment has, for it may have as much as max_.
    if (!make_room(input.size())) return true;
    std::memcpy(block_->data, input.data(), input.size());
    block_->size = static_cast<std::uint32_t>(input.size());
    front_ = {};
    return false;
}

// Goes on with a frame that is being gathered. False: it is not whole yet, and nothing is held but the block.
bool FrameSource::gather() noexcept {
    while (next_segment()) {
        // As much as the frame is known to need or, where that is little, a bit more: what turns out not to belong to
        // the frame is left in its segment. ask() has seen to it that need_ is above what is there, and not above max_.
        const std::size_t have = block_->size;
        if (have >= max_) return fail(Errc::message_too_large);  // the limit has become less
        const std::size_t part = std::min({front_.size(), max_ - have, std::max(need_ - have, granule)});
        if (!make_room(part)) return true;
        std::memcpy(block_->data + have, front_.data(), part);
        block_->size += static_cast<std::uint32_t>(part);
        DecodeStep step = DecodeStep::more();
        const bool found = ask({block_->data, block_->size}, step);
        if (found && !error_) {
            const std::size_t surplus = block_->size - step.consumed();
            front_ = front_.subspan(part - surplus);
            in_block_ = true;
            return true;
        }
        front_ = front_.subspan(part);
        if (found) return true;
    }
    return false;
}

// Room for `bytes` more in the block. False: there is no memory; nothing was taken, and the stream has failed.
bool FrameSource::make_room(std::size_t bytes) noexcept {
    const std::size_t have = block_ ? block_->size : 0;
    const std::size_t wanted = have + bytes;
    if (block_ && block_->capacity >= wanted) return true;
    // What the frame needs, unless that is much more than what has come; at least twice what there was.
    const std::size_t least = block_ ? std::size_t{2} * block_->capacity : smallest_block;
    const std::size_t most = std::min(std::max(2 * wanted, least), max_);
    const std::size_t capacity = std::max(wanted, std::min(std::max(need_, least), most));
    Segment* larger = nullptr;
    try {
        larger = Segment::allocate(capacity);
    } catch (const std::bad_alloc&) {
        fail(std::make_error_code(std::errc::not_enough_memory));
        return false;
    }
    if (block_) {
        std::memcpy(larger->data, block_->data, have);
        larger->size = block_->size;
        block_->release();
    }
    block_ = larger;
    return true;
}

Chunk FrameSource::take_rest() noexcept {
    drop_message();
    if (held_) held_->drop_front(held_->size - front_.size());
    next_segment();
    shrink();
    Segment* first = std::exchange(held_, nullptr);
    if (block_) {
        block_->next = first;
        first = std::exchange(block_, nullptr);
    }
    held_tail_ = nullptr;
    front_ = {};
    if (!error_) error_ = make_error_code(Errc::closed);
    std::size_t bytes = 0;
    for (const Segment* segment = first; segment; segment = segment->next) bytes += segment->size;
    return Chunk(first, bytes);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
