// SPDX-License-Identifier: BSL-1.0
// Forwarding on a Link: sends that nobody awaits. One segment that this worker has lent becomes the send in flight,
// with no unit for it; what the kernel does not take of it becomes one, in front of the queue.
#include <chainring/trap.hpp>

#include "net/src/link_state.hpp"

#include <new>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

// What an unawaited send has left.
struct LeftUnit : SendUnit {
    explicit LeftUnit(Segment& lent) noexcept {
        kind = Kind::segments;
        source = &lent;
        left = lent.size;
        done = [](SendUnit& unit, PackedError) noexcept {  // the Link keeps the error for whoever comes next
            Segment::release_all(static_cast<Segment*>(const_cast<void*>(unit.source)));
            delete static_cast<LeftUnit*>(&unit);
        };
    }
};

}  // namespace

inline bool LinkState::can_send_unawaited(const Segment* chain) noexcept {
    if (phase_ != Phase::open || write_ends_ || send_op().armed || out_head_ || posts_waiting()) return false;
    return chain && !chain->next && chain->pool == &home().buffers();
}

inline void LinkState::send_unawaited(Segment& segment) noexcept {
    send_op().data = segment.data;
    send_op().size = segment.size;
    send_op().nowait = true;
    send_op().told = false;
    send_op().unawaited = &segment;
    if (idle_on_ & sent) [[unlikely]]
        expect_sent();  // the limit begins anew when it goes
    home().backend().submit_unawaited(send_op());
}

// It did not go as a whole, or the Link is closing: it goes on as a unit, in front of all others.
void LinkState::await_again(Segment& segment, Completion completion) noexcept {
    auto* const unit = new (std::nothrow) LeftUnit(segment);
    if (!unit) {
        segment.release();
        abort();
        finish_end();
        return;
    }
    unit->next = out_head_;
    out_head_ = unit;
    if (!out_tail_) out_tail_ = unit;
    gathered_ = 1;
    on_sent_in_part(completion);
}

}  // namespace detail

// ---- ForwardOp

bool ForwardOp::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    detail::TaskContext& task = *node.context;
    detail::LinkState* const to = link();
    if (to->at_home(task) && !task.is_cancelled() && to->can_send_unawaited(given_.chain)) [[likely]] {
        to->send_unawaited(*std::exchange(given_.chain, nullptr));
        return false;
    }
    return wait(node, handle);
}

[[gnu::noinline]] bool ForwardOp::wait(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    return become_send().start(node, handle);
}

SendOp& ForwardOp::become_send() noexcept {
    detail::LinkState* const to = link();
    const Given given = given_;
    auto* const made = ::new (&send_) SendOp(to, given.chain, given.size);
    made->limit_ = given.limit;
    CHAINRING_REQUIRE(is_send(), "a SendOp begins with the pointer of its Waiter");
    return *made;
}

void ForwardOp::clear() noexcept {
    if (!is_send()) become_send();  // which gives the bytes back
    send_.~SendOp();
}

CHAINRING_END_NAMESPACE
