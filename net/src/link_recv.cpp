// SPDX-License-Identifier: BSL-1.0
// Receiving on a Link: the multishot receive and the waiting receive operation; link_unread.cpp has the queue between.
#include <chainring/trap.hpp>

#include "net/src/link_state.hpp"
#include "net/src/way_home.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// ---- the operation in the kernel

// While the runtime drains, only a receive that has begun, or that asked for it, may wait for more.
bool LinkState::reading_allowed() const noexcept {
    if (phase_ == Phase::lingering || (phase_ == Phase::flushing && graceful_))
        return read_side_ == ReadSide::open;  // to discard it: a peer may have to send before it can receive
    if (phase_ != Phase::open || read_side_ != ReadSide::open) return false;
    return !draining_ || (reader_ && (reader_->ignore_drain_ || unread_bytes_ > 0 || reader_->begun()));
}

// A receive waits, or room has come back: makes sure that data can arrive.
void LinkState::want_data() noexcept {
    if (recv_op().armed || starved || !reading_allowed()) return;
    if (phase_ == Phase::open && unread_bytes_ >= read_ahead && !reader_) return;
    arm_recv();
}

void LinkState::arm_recv() noexcept {
    home().backend().submit(recv_op());
}

// Draining: a connection that was accepted with its request already there is still served. Once, and only when nothing
// is armed, whose bytes would come first.
void LinkState::last_look() noexcept {
    if (recv_op().armed || looked_) return;
    looked_ = true;
    Segment* segment = Segment::allocate(read_ahead / 4);
    const int arrived = home().backend().try_recv(endpoint_.fd, {segment->data, segment->capacity});
    segment->size = static_cast<std::uint32_t>(std::max(arrived, 0));
    if (arrived > 0) {
        if (stamps_) segment->arrived = home().now();
        append_unread(segment);
        return;
    }
    segment->release();
    if (arrived == 0) end_read_side(ReadSide::eof, 0);
}

// Draining, and nothing is armed: a receive that waits for a new message ends, after a last look.
void LinkState::end_idle_reader() noexcept {
    if (!reader_ || !draining_ || reading_allowed()) return;
    last_look();
    if (!reader_) return;  // it met the end of the stream
    advance_reader();
    if (!reader_) return;
    if (reading_allowed())
        want_data();  // a part of what it asks for is there: the rest may follow
    else
        wake_reader(Wake::shutting_down);
}

void LinkState::pause_recv() noexcept {
    home().unstarve(*this);
    home().backend().cancel(recv_op());  // what arrives until its terminal completion is queued
}

// A plain receive waits: the segment is what it gets, with those that follow before its task runs.
inline bool LinkState::hand_over(Segment& segment) noexcept {
    if (stamps_ || !reader_ || !reader_->plain_ || unread_head_) return false;
    Worker& here = home();
    if (here.buffers().scarce()) [[unlikely]]
        return false;  // it is to be copied
    RecvOp& op = static_cast<RecvOp&>(*std::exchange(reader_, nullptr));
    op.take(&segment, segment.size);
    op.claim.settle(Wake::completed);  // as wake_reader() has it
    reader_kept_up_ = true;
    here.wake(op);
    return true;
}

// More of the same burst, whose beginning has just woken a receive: that gets it too, so that what came together goes
// on together. (The last that was noted is a plain receive if it is one of this Link's at all.)
bool LinkState::hand_more(Segment& segment) noexcept {
    auto* const op = static_cast<RecvOp*>(home().last_woken());
    if (!op || op->link_ != this || unread_head_ || stamps_) return false;
    if (op->bytes_ + segment.size > most_handed_over || home().buffers().scarce()) return false;
    Segment* last = op->chain_;
    while (last->next) last = last->next;
    last->next = &segment;
    op->bytes_ += segment.size;
    return true;
}

void LinkState::on_recv(Completion completion) noexcept {
    if (!completion.segment) [[unlikely]]
        return on_recv_ended(completion);
    if (!completion.more || (idle_on_ & received) || !hand_over(*completion.segment)) [[unlikely]]
        on_recv_otherwise(completion);
}

void LinkState::on_recv_otherwise(Completion completion) noexcept {
    note_activity(received);
    if (!hand_over(*completion.segment) && !hand_more(*completion.segment)) {
        if (phase_ == Phase::open) [[likely]]
            queue_segment(completion.segment);
        else
            completion.segment->release();  // nobody will receive it
    }
    if (!completion.more) on_recv_ended(completion);
}

// The receive has to be armed again, if it may be: its burst, the stream or the pool has come to its end.
void LinkState::on_recv_ended(Completion completion) noexcept {
    if (completion.segment) {
        // A receiver that has kept up with a burst gets longer ones, until it lags: each costs an arming.
        const bool kept_up = reader_ ? !reader_->short_bursts_ : reader_kept_up_;
        if (kept_up) recv_op().burst = most_handed_over / Operation::recv_burst;
    } else if (completion.result == 0) {
        end_read_side(ReadSide::eof, 0);
    } else if (completion.result == -ENOBUFS) {
        if (phase_ < Phase::ending)
            home().starve(*this, [](StarvedNode& node) noexcept { static_cast<LinkState&>(node).want_data(); });
    } else if (completion.result < 0 && completion.result != -ECANCELED && completion.result != -EINTR &&
               completion.result != -EAGAIN) {
        // The three above say nothing of the stream: whoever waits has it armed again.
        end_read_side(ReadSide::failed, -completion.result);
    }
    if (recv_op().armed) return;
    if (phase_ == Phase::ending) {
        finish_end();
        return;
    }
    if (reader_ || graceful_) want_data();
    if (reader_ && !recv_op().armed && !starved) end_idle_reader();
}

// The kernel tells the end of a connection to one call only (it clears sk_err), and when that was a send, a receive
// finds the end of the stream, as if the peer had ended it in order. EPIPE is none of these: then it has.
void LinkState::connection_lost(int error) noexcept {
    switch (error) {
        case ECONNRESET:
        case ECONNABORTED:
        case ETIMEDOUT:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case EPROTO:
            if (read_side_ == ReadSide::open) read_errno_ = error;
            return;
        default:
            return;
    }
}

// The end of the stream, though the last send went short: what stopped it may have been a reset, told to nobody. Then
// the socket has no peer any more (TCP_CLOSE: getpeername says ENOTCONN), which before our own FIN nothing else does.
void LinkState::doubt_end() noexcept {
    if (!sent_short_ || fin_sent_) return;
    sockaddr_storage name;
    socklen_t name_size = sizeof(name);
    if (home().backend().peer_name(endpoint_.fd, name, name_size) == ENOTCONN) connection_lost(ECONNRESET);
}

void LinkState::end_read_side(ReadSide side, int error) noexcept {
    if (read_side_ == ReadSide::open) {
        if (side == ReadSide::eof) doubt_end();
        read_side_ = read_errno_ != 0 ? ReadSide::failed : side;
        if (error != 0) read_errno_ = error;
    }
    if (phase_ == Phase::lingering) {
        if (closer_) closer_->peer_ended_ = side == ReadSide::eof;
        end();
        return;
    }
    if (reader_) wake_reader(Wake::closed);
}

// ---- the waiting receive

// What may have to be done for a wait that has just been published.
bool LinkState::prepare_wait(ReadOp& op) noexcept {
    TaskContext& task = *op.task;
    if (task.is_cancelled()) {
        reader_ = nullptr;
        take_back(op);
        return refuse(op, Wake::cancelled);
    }
    heed(op);
    if (task.deadline != Instant::max()) op.limit_.until(earlier_of(op.limit_, task));
    if (op.limit_.given()) home().renew(timer(), op.limit_);
    if (!draining_ || reading_allowed()) [[likely]] {
        if (!recv_op().armed) want_data();
        return true;
    }
    pause_recv();
    if (!recv_op().armed) end_idle_reader();  // else the terminal completion does
    return true;
}

// The receive ends before it waits.
bool LinkState::refuse(ReadOp& op, Wake why) noexcept {
    op.claim.settle(why);
    settle(op, why);
    return false;
}

// Receiving. True when the task is to suspend.
inline bool LinkState::start_read(ReadOp& op, FrameNode& node, std::coroutine_handle<> handle) noexcept {
    CHAINRING_REQUIRE(!reader_, "two receives wait on one Link at the same time; it has one reader");
    if (!op.plain_ || unread_bytes_ > 0 || phase_ != Phase::open || read_side_ != ReadSide::open || draining_ ||
        !home().may_note_renewal())
        return look_for_data(op, node, handle);
    TaskContext& task = *node.context;
    reader_ = &op;
    const bool asked = publish(op, node, handle, home());
    const bool armed = recv_op().armed;
    if (asked || !armed || task.deadline != Instant::max()) [[unlikely]]
        return prepare_wait(op);
    if (op.limit_.given()) home().note_renewal(timer(), op.limit_);
    return true;
}

// There may be enough already, or there will never be.
bool LinkState::look_for_data(ReadOp& op, FrameNode& node, std::coroutine_handle<> handle) noexcept {
    reader_kept_up_ = false;  // else it will have, when the wait ends
    if (op.short_bursts_) [[unlikely]]
        recv_op().burst = 1;
    if (op.stamps_) [[unlikely]]
        stamp_arrivals();
    if (unread_bytes_ > 0 || !op.plain_) op.satisfied_ = op.kind_->step(op);
    if (op.satisfied_) {
        settle(op, Wake::completed);
        return false;
    }
    if (phase_ != Phase::open || read_side_ != ReadSide::open) return refuse(op, Wake::closed);
    reader_ = &op;
    publish(op, node, handle, home());
    return prepare_wait(op);
}

bool ReadOp::start(FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (!link_->at_home(*node.context)) return go_home(*this, *link_, node, handle, arrive);
    return link_->start_read(*this, node, handle);
}

void ReadOp::arrive(InboxNode& node) noexcept {
    TaskContext& task = arrived_task(node);
    auto& self = static_cast<ReadOp&>(*task.waiter);
    LinkState& link = *self.link_;
    has_begun(task, link, self.start(*task.leaf, task.resume));
}

// Data has been queued.
void LinkState::advance_reader() noexcept {
    ReadOp& op = *reader_;
    op.satisfied_ = op.kind_->step(op);
    if (op.satisfied_) wake_reader(Wake::completed);
}

void LinkState::wake_reader(Wake why) noexcept {
    if (!reader_) return;
    ReadOp& op = *std::exchange(reader_, nullptr);
    op.claim.settle(why);  // nobody else ends it: all that would are here, and find no reader
    reader_kept_up_ = !op.short_bursts_;
    settle(op, why);
    resume(op);
}

void LinkState::end_read(ReadOp& op, Wake why) noexcept {
    if (reader_ == &op) wake_reader(why);
}

std::error_code LinkState::read_error(Wake why) const noexcept {
    if (why != Wake::none && why != Wake::completed && why != Wake::closed) return error_of(why);
    if (read_side_ == ReadSide::eof) return make_error_code(Errc::eof);
    if (read_side_ == ReadSide::failed) return {read_errno_, std::system_category()};
    return make_error_code(Errc::closed);
}

}  // namespace detail

CHAINRING_END_NAMESPACE
