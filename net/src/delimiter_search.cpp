// SPDX-License-Identifier: BSL-1.0
// How recv_until looks for its delimiter. `searched_` bytes of the queue are done with: the delimiter does not begin in
// them. Segments are walked with a window that carries the last delimiter.size() - 1 bytes over their edges.
//
// The walk begins at `resume_`, the last heap segment that begins within what is done with. Only those are remembered:
// they are neither moved nor replaced while they are unread, as lent ones are that spill. Small arrivals that stay are
// gathered in heap segments, so what is walked in vain is lent segments of more than LinkState's spill_small bytes that
// came one after the other, fewer than three quarters of the pool.
#include <chainring/link_operations.hpp>

#include "runtime/src/buffer_pool.hpp"

#include <algorithm>
#include <cstring>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

bool DelimiterSearch::found(std::size_t at) noexcept {
    found_at_ = at;
    too_long_ = at > max_;
    return true;
}

bool DelimiterSearch::look(const Segment* first, std::size_t bytes_in_queue) noexcept {
    const std::size_t keep = delimiter_.size() - 1;  // bytes of a segment that may begin the delimiter
    const std::size_t done = bytes_in_queue - std::min(bytes_in_queue, keep);  // if it is not found now
    std::size_t start = resume_ ? resume_start_ : 0;  // position of the segment's first byte in the queue
    char carried[64];
    std::size_t carry = 0;  // bytes of earlier segments in front of this one
    for (const Segment* at = resume_ ? resume_ : first; at; start += at->size, at = at->next) {
        if (!at->pool && start <= done) {
            resume_ = at;
            resume_start_ = start;
        }
        if (start + at->size <= searched_) continue;
        const std::size_t skip = searched_ > start ? searched_ - start : 0;
        const std::string_view bytes = as_text({at->data, at->size}).substr(skip);
        if (carry > 0) {
            char joint[128];
            std::memcpy(joint, carried, carry);
            const std::size_t more = std::min(bytes.size(), keep);
            std::memcpy(joint + carry, bytes.data(), more);
            const auto position = std::string_view(joint, carry + more).find(delimiter_);
            if (position != std::string_view::npos) return found(start + skip - carry + position);
        }
        if (const auto position = bytes.find(delimiter_); position != std::string_view::npos)
            return found(start + skip + position);
        if (bytes.size() >= keep) {
            std::memcpy(carried, bytes.data() + bytes.size() - keep, keep);
            carry = keep;
        } else {
            const std::size_t old = std::min(carry, keep - bytes.size());
            std::memmove(carried, carried + carry - old, old);
            std::memcpy(carried + old, bytes.data(), bytes.size());
            carry = old + bytes.size();
        }
    }
    searched_ = done;
    too_long_ = bytes_in_queue >= max_ + delimiter_.size();
    return too_long_;
}

}  // namespace detail
CHAINRING_END_NAMESPACE
