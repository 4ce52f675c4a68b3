// SPDX-License-Identifier: BSL-1.0
// Gather: the pieces of memory that one sendmsg(2) takes, and how the units of a Link's send queue become such pieces
// and are moved past what the kernel has taken. Home's thread; included by link_send.cpp.
#pragma once

#include <chainring/link.hpp>

#include "net/src/link_state.hpp"

#include <algorithm>
#include <cstddef>
#include <new>
#include <sys/socket.h>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// The pieces of one sendmsg. Of the three lengths of list the shortest that does: thousands of Links may send a message
// or two at the same time.
struct Gather {
    static constexpr std::size_t few = 8;
    static constexpr std::size_t some = 64;
    static constexpr std::size_t many = 1024;                       // IOV_MAX
    static constexpr std::size_t max_bytes = std::size_t{1} << 30;  // a completion counts in an int

    msghdr message{};
    std::size_t bytes = 0;
    std::size_t capacity;  // pieces that it has room for; they follow it
    bool lent = false;

    // Null when there is no memory.
    static Gather* make(std::size_t capacity) noexcept {
        try {
            return new (allocate_frame(size_of(capacity))) Gather(capacity);
        } catch (...) {
            return nullptr;
        }
    }
    static void free(Gather* gather) noexcept { free_frame(gather, size_of(gather->capacity)); }
    // The one whose message the operation sends.
    static Gather* of(const SendOperation& operation) noexcept { return reinterpret_cast<Gather*>(operation.message); }

    bool full() const noexcept { return message.msg_iovlen == capacity || bytes == max_bytes; }
    void add(const void* data, std::size_t size) noexcept {
        size = std::min(size, max_bytes - bytes);
        message.msg_iov[message.msg_iovlen++] = {const_cast<void*>(data), size};
        bytes += size;
    }

    explicit Gather(std::size_t pieces) noexcept : capacity(pieces) {
        message.msg_iov = reinterpret_cast<iovec*>(this + 1);
    }
    static std::size_t size_of(std::size_t pieces) noexcept { return sizeof(Gather) + pieces * sizeof(iovec); }
};
static_assert(std::is_trivially_destructible_v<Gather> && std::is_trivial_v<iovec>);
static_assert(std::is_standard_layout_v<Gather>, "of() relies on it");

inline const Segment* segments_of(const SendUnit& unit) noexcept {
    return static_cast<const Segment*>(unit.source);
}

inline const std::byte* payload_of(const SendUnit& unit) noexcept {
    return static_cast<const PayloadBlock*>(unit.source)->bytes().data() + unit.slice_offset;
}

inline void add_unit(Gather& gather, const SendUnit& unit) noexcept {
    switch (unit.kind) {
        case SendUnit::Kind::bytes:
            gather.add(unit.source, unit.left);
            break;
        case SendUnit::Kind::slices: {
            const auto* slice = static_cast<const IoSlice*>(unit.source);
            std::size_t offset = unit.slice_offset;
            for (std::size_t left = unit.left; left > 0 && !gather.full(); ++slice, offset = 0) {
                const auto piece = slice->bytes.subspan(offset);
                if (!piece.empty()) gather.add(piece.data(), piece.size());
                left -= piece.size();
            }
            break;
        }
        case SendUnit::Kind::segments:
            for (const Segment* segment = segments_of(unit); segment && !gather.full(); segment = segment->next) {
                gather.add(segment->data, segment->size);
                gather.lent |= segment->pool != nullptr;
            }
            break;
        case SendUnit::Kind::payload:
            if (unit.left > 0) gather.add(payload_of(unit), unit.left);
            break;
        case SendUnit::Kind::end_of_stream:
            break;
    }
}

// The shortest list that has room for the pieces of this unit and those behind it, or the longest.
inline std::size_t length_of_list(const SendUnit& first) noexcept {
    std::size_t length = Gather::few;
    std::size_t units = 0;
    for (const SendUnit* unit = &first; unit && length < Gather::many; unit = unit->next) {
        ++units;
        const bool one_piece = unit->kind != SendUnit::Kind::slices && unit->kind != SendUnit::Kind::segments;
        if (units > Gather::some)
            length = Gather::many;
        else if (units > Gather::few || !one_piece)
            length = Gather::some;
    }
    return length;
}

// Moves the unit past `bytes` that the kernel has taken.
inline void advance_unit(SendUnit& unit, std::size_t bytes) noexcept {
    unit.left -= bytes;
    unit.sent += bytes;
    switch (unit.kind) {
        case SendUnit::Kind::bytes:
            unit.source = static_cast<const std::byte*>(unit.source) + bytes;
            break;
        case SendUnit::Kind::slices: {
            const auto* slice = static_cast<const IoSlice*>(unit.source);
            std::size_t offset = unit.slice_offset + bytes;
            while (unit.left > 0 && offset >= slice->bytes.size()) offset -= (slice++)->bytes.size();
            unit.slice_offset = offset & 0xffff'ffff'ffff;
            unit.source = slice;
            break;
        }
        case SendUnit::Kind::segments: {
            auto* segment = const_cast<Segment*>(segments_of(unit));
            while (bytes > 0) {
                const std::size_t part = std::min<std::size_t>(bytes, segment->size);
                segment->drop_front(part);
                bytes -= part;
                if (segment->size == 0) std::exchange(segment, segment->next)->release();
            }
            unit.source = segment;
            break;
        }
        case SendUnit::Kind::payload:
            unit.slice_offset = (unit.slice_offset + bytes) & 0xffff'ffff'ffff;
            break;
        case SendUnit::Kind::end_of_stream:
            break;
    }
}

}  // namespace detail
CHAINRING_END_NAMESPACE
