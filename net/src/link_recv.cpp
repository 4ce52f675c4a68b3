// SPDX-License-Identifier: BSL-1.0
// Receiving on a Link: the multishot receive, the queue of unread segments, the waiting receive operation.
#include <chainring/trap.hpp>

#include "net/src/link_state.hpp"
#include "net/src/way_home.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {
constexpr std::size_t spill_block = 4096;  // heap segments that small ones are gathered in
}  // namespace

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
        if (reader_ || reader_kept_up_) recv_op().burst = most_handed_over / Operation::recv_burst;
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

// ---- the queue

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
    while (unread_head_) std::exchange(unread_head_, unread_head_->next)->release();
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
    reader_kept_up_ = true;
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
