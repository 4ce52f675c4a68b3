// SPDX-License-Identifier: BSL-1.0
// Sending on a Link: the queue of units and the gathered send in flight.
#include <chainring/trap.hpp>

#include "net/src/gather.hpp"
#include "net/src/link_state.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// Replaces the lent buffers that the unit still holds by copies.
void LinkState::copy_out(SendUnit& unit) noexcept {
    if (unit.kind != SendUnit::Kind::segments) return;
    auto* segment = const_cast<Segment*>(segments_of(unit));
    Segment* head = nullptr;
    Segment** tail = &head;
    while (segment) {
        Segment* next = segment->next;
        if (segment->pool) {
            Segment* copy = Segment::copy_of({segment->data, segment->size});
            segment->release();
            segment = copy;
        }
        *tail = segment;
        tail = &segment->next;
        segment = next;
    }
    *tail = nullptr;
    unit.source = head;
}

// ---- the queue

inline void LinkState::finish_front(PackedError error) noexcept {
    SendUnit& unit = *out_head_;
    out_head_ = unit.next;
    if (!out_head_) out_tail_ = nullptr;
    if (gathered_ > 0) --gathered_;
    unit.done(unit, error);
}

bool LinkState::unlink_unsent(SendUnit& unit) noexcept {
    if (unit.sent > 0) return false;
    std::uint32_t index = 0;
    SendUnit* previous = nullptr;
    for (SendUnit* at = out_head_; at != &unit; at = at->next, ++index) {
        if (!at) return false;
        previous = at;
    }
    if (send_op().armed && index < gathered_) return false;
    (previous ? previous->next : out_head_) = unit.next;
    if (out_tail_ == &unit) out_tail_ = previous;
    if (unit.kind == SendUnit::Kind::end_of_stream) reopen_posts();
    return true;
}

// Ends a unit early. Nothing of it is on the wire and the kernel does not have it: it is taken out. Otherwise the
// send in flight is cancelled, and its terminal completion tells how much went.
void LinkState::interrupt(SendUnit& unit, Wake why) noexcept {
    if (unlink_unsent(unit)) {
        unit.done(unit, error_of(why));
        if (!out_head_) home().flush_later(*this);
        return;
    }
    unit.ending = why;
    if (send_op().armed)
        home().backend().cancel(send_op());
    else
        settle_interrupted();
}

void LinkState::settle_interrupted() noexcept {
    for (SendUnit* at = out_head_; at;) {
        SendUnit& unit = *at;
        at = at->next;
        if (unit.ending == Wake::none) continue;
        const Wake why = unit.ending;
        if (unlink_unsent(unit)) {
            unit.done(unit, error_of(why));
            continue;
        }
        // A part of it has gone, and the rest never will: the stream cannot go on. Only the first unit can be partial.
        finish_front(error_of(why));
        fail_writes(make_error_code(Errc::write_broken));
        return;
    }
}

// Ends every unit that the kernel does not have, and all that come later, with `error`.
void LinkState::fail_writes(std::error_code error) noexcept {
    if (!write_error_) write_error_ = error;
    write_ends_ = true;
    end_posts();
    SendUnit** at = &out_head_;
    out_tail_ = nullptr;
    for (std::uint32_t keep = send_op().armed ? gathered_ : 0; keep > 0 && *at; --keep) {
        out_tail_ = *at;
        at = &(*at)->next;
    }
    SendUnit* failed = std::exchange(*at, nullptr);
    while (failed) {
        SendUnit& unit = *failed;
        failed = failed->next;  // done() may free the unit
        unit.done(unit, write_error_);
    }
}

// ---- the send in flight

void LinkState::flush_out() noexcept {
    if (send_op().armed || phase_ >= Phase::ending) return;
    for (;;) {
        if (!out_head_) queue_posts(TakePosts::now);
        if (!out_head_) break;
        SendUnit& unit = *out_head_;
        if (unit.left > 0 && !fin_sent_) [[likely]] {
            if (!gather()) {
                fail_writes(std::make_error_code(std::errc::not_enough_memory));
                continue;
            }
            if (!send_op().nowait) copy_out_waiting();
            home().backend().submit(send_op());
            return;
        }
        if (unit.kind == SendUnit::Kind::end_of_stream) {
            const int error = fin_sent_ ? 0 : home().backend().shutdown_write(endpoint_.fd);
            fin_sent_ = true;
            finish_front(error ? std::error_code(error, std::system_category()) : std::error_code());
        } else if (fin_sent_) {
            finish_front(std::make_error_code(std::errc::broken_pipe));
        } else {
            finish_front({});  // it is empty
        }
    }
    flushed();
}

// Prepares one send of as many queued units as fit. False: no memory for the list of pieces.
bool LinkState::gather() noexcept {
    gathered_ = 0;
    send_op().gathered = false;
    const SendUnit& first = *out_head_;
    const bool single_piece = first.kind == SendUnit::Kind::bytes || first.kind == SendUnit::Kind::payload ||
                              (first.kind == SendUnit::Kind::segments && !segments_of(first)->next);
    if (single_piece && !first.next) {
        const Segment* segment = first.kind == SendUnit::Kind::segments ? segments_of(first) : nullptr;
        const void* bytes = first.kind == SendUnit::Kind::payload ? payload_of(first) : first.source;
        send_op().data = segment ? segment->data : bytes;
        send_op().size = static_cast<std::uint32_t>(std::min(first.left, Gather::max_bytes));
        send_op().nowait = segment && segment->pool;
        gathered_ = 1;
        return true;
    }
    Gather* const pieces = Gather::make(length_of_list(first));
    if (!pieces) return false;
    for (const SendUnit* unit = out_head_; unit && !pieces->full(); unit = unit->next) {
        if (unit->kind == SendUnit::Kind::end_of_stream) break;
        add_unit(*pieces, *unit);
        ++gathered_;
    }
    send_op().gathered = true;
    send_op().message = &pieces->message;
    send_op().size = static_cast<std::uint32_t>(pieces->bytes);
    send_op().nowait = pieces->lent;
    return true;
}

void LinkState::flush_node() noexcept {
    if (holds_small_) [[unlikely]]
        spill_lent(spill_small);
    flush_out();
    if (!in_flush_list && may_free()) delete this;  // the flush may have ended the Link and queued it again
}

// ---- the end of a send

// The one unit of the send in flight has gone, with nothing left to settle.
inline void LinkState::everything_went(SendUnit& unit) noexcept {
    unit.sent += unit.left;
    if (unit.kind == SendUnit::Kind::segments) {
        auto* segment = const_cast<Segment*>(static_cast<const Segment*>(std::exchange(unit.source, nullptr)));
        do {
            Segment& went = *std::exchange(segment, segment->next);
            if (went.pool == &home().buffers())
                went.pool->take_back(went);
            else
                went.release();
        } while (segment);
    }
    unit.left = 0;
    finish_front({});
}

void LinkState::on_sent(Completion completion) noexcept {
    if (Segment* const segment = std::exchange(send_op().unawaited, nullptr)) [[likely]] {
        if (static_cast<std::uint32_t>(completion.result) != send_op().size || phase_ != Phase::open) [[unlikely]]
            return await_again(*segment, completion);
        sent_short_ = false;
        note_activity(sent);
        home().buffers().take_back(*segment);
        if (out_head_ || posts_waiting()) home().flush_later(*this);
        return;
    }
    if (gathered_ == 1 && completion.result > 0 && static_cast<std::size_t>(completion.result) == out_head_->left &&
        phase_ == Phase::open && !send_op().gathered) [[likely]] {
        sent_short_ = false;
        note_activity(sent);
        everything_went(*out_head_);
        if (out_head_ || posts_waiting()) home().flush_later(*this);
    } else {
        on_sent_in_part(completion);
    }
}

// Several units, a part of one, or nothing.
void LinkState::on_sent_in_part(Completion completion) noexcept {
    if (std::exchange(send_op().gathered, false)) Gather::free(Gather::of(send_op()));
    const int result = completion.result;
    // A send that goes on after a part of it had been taken may meet the end of the connection: the part is told, the
    // error nobody, and the next send finds EPIPE.
    const bool was_short = sent_short_;
    sent_short_ = false;
    if (result > 0) {
        sent_short_ = static_cast<std::size_t>(result) < send_op().size;
        consume(static_cast<std::size_t>(result));
        note_activity(sent);
        if (phase_ == Phase::flushing && timed_) home().renew_now(timer(), linger_time);
    }
    gathered_ = 0;
    if (std::exchange(stall_check_, false) && result == -ECANCELED) {
        abort();  // the peer takes nothing
        return;
    }
    if (result <= 0 && result != -EAGAIN && result != -EINTR && result != -ECANCELED) {
        connection_lost(was_short && result == -EPIPE ? ECONNRESET : -result);
        fail_writes({result < 0 ? -result : EIO, std::system_category()});
    } else if (phase_ >= Phase::ending) {
        fail_writes(make_error_code(Errc::closed));
    } else {
        if (send_op().nowait && static_cast<std::size_t>(std::max(result, 0)) < send_op().size) copy_out_lent();
        settle_interrupted();
    }
    if (phase_ == Phase::ending)
        finish_end();
    else if (out_head_ || posts_waiting())
        home().flush_later(*this);
    else
        flushed();
}

void LinkState::consume(std::size_t bytes) noexcept {
    while (bytes > 0) {
        SendUnit& unit = *out_head_;
        const std::size_t part = std::min(bytes, unit.left);
        advance_unit(unit, part);
        bytes -= part;
        if (unit.left == 0) finish_front({});
    }
}

// The send in flight may wait for the network: lent bytes behind it must not.
void LinkState::copy_out_waiting() noexcept {
    std::uint32_t index = 0;
    for (SendUnit* unit = out_head_; unit; unit = unit->next)
        if (index++ >= gathered_) copy_out(*unit);
}

void LinkState::copy_out_lent() noexcept {
    for (SendUnit* unit = out_head_; unit; unit = unit->next) copy_out(*unit);
}

}  // namespace detail

CHAINRING_END_NAMESPACE
