// SPDX-License-Identifier: BSL-1.0
// The awaitables of Link: what each asks of its LinkState, and what it makes of the outcome.
#include <chainring/link_operations.hpp>
#include <chainring/trap.hpp>

#include "net/src/link_state.hpp"
#include "net/src/way_home.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

// ---- receives

namespace detail {

void ReadOp::end_early(Waiter& waiter, Wake why) noexcept {
    auto& self = static_cast<ReadOp&>(waiter);
    self.link_->end_read(self, why);
}

}  // namespace detail

const detail::ReadOp::Kind RecvOp::kind = {[](detail::ReadOp& op) noexcept {
                                               auto& self = static_cast<RecvOp&>(op);
                                               const std::size_t bytes = self.link_->unread();
                                               if (bytes == 0) return false;
                                               self.take(self.link_->take_all_unread(), bytes);
                                               return true;
                                           },
                                           nullptr};

const detail::ReadOp::Kind RecvIntoOp::kind = {[](detail::ReadOp& op) noexcept {
                                                   auto& self = static_cast<RecvIntoOp&>(op);
                                                   self.taken_ = self.link_->take_unread(self.into_);
                                                   return self.taken_ > 0;
                                               },
                                               nullptr};

RecvIntoOp::RecvIntoOp(detail::LinkState* link, std::span<std::byte> into) noexcept : ReadOp(link, kind), into_(into) {
    CHAINRING_REQUIRE(!into.empty(), "recv needs room for at least one byte");
}

Result<std::size_t> RecvIntoOp::await_resume() noexcept {
    if (!satisfied_) return error();
    return taken_;
}

const detail::ReadOp::Kind RecvExactOp::kind = {
    [](detail::ReadOp& op) noexcept {
        auto& self = static_cast<RecvExactOp&>(op);
        if (self.taken_ == 0)
            if (const auto* first = self.link_->first_unread()) self.arrived_ = first->arrived;
        self.taken_ += self.link_->take_unread(self.into_.subspan(self.taken_));
        return self.taken_ == self.into_.size();
    },
    [](detail::ReadOp& op) noexcept {
        auto& self = static_cast<RecvExactOp&>(op);
        if (!self.satisfied_) self.link_->put_back(self.into_.first(self.taken_), self.arrived_);
    }};

RecvExactOp::RecvExactOp(detail::LinkState* link, std::span<std::byte> into) noexcept
    : ReadOp(link, kind), into_(into) {
    waits_in = detail::WaitKind::recv_exact;
}

Result<void> RecvExactOp::await_resume() noexcept {
    if (!satisfied_) return error();
    return {};
}

const detail::ReadOp::Kind PeekOp::kind = {[](detail::ReadOp& op) noexcept {
                                               auto& self = static_cast<PeekOp&>(op);
                                               if (self.link_->unread() < self.at_least_) return false;
                                               self.taken_ = self.link_->copy_unread(self.into_);
                                               return true;
                                           },
                                           nullptr};

PeekOp::PeekOp(detail::LinkState* link, std::span<std::byte> into, std::size_t at_least) noexcept
    : ReadOp(link, kind), into_(into), at_least_(at_least) {
    accumulates_ = true;
    CHAINRING_REQUIRE(at_least > 0 && at_least <= into.size(),
                      "peek waits for at least one byte, at most for its room");
}

Result<std::size_t> PeekOp::await_resume() noexcept {
    if (!satisfied_) return error();
    return taken_;
}

const detail::ReadOp::Kind RecvUntilOp::kind = {step, settle};

RecvUntilOp::RecvUntilOp(detail::LinkState* link, std::string_view delimiter, std::size_t max) noexcept
    : ReadOp(link, kind), search_(delimiter, std::min<std::size_t>(max, 16U << 20)) {
    waits_in = detail::WaitKind::recv_until;
    accumulates_ = true;
    CHAINRING_REQUIRE(!delimiter.empty() && delimiter.size() <= 64, "recv_until takes a delimiter of 1 to 64 bytes");
}

bool RecvUntilOp::step(detail::ReadOp& op) noexcept {
    auto& self = static_cast<RecvUntilOp&>(op);
    return self.search_.look(self.link_->first_unread(), self.link_->unread());
}

void RecvUntilOp::settle(detail::ReadOp& op) noexcept {
    auto& self = static_cast<RecvUntilOp&>(op);
    if (!self.satisfied_) return;
    self.satisfied_ = false;
    if (self.search_.too_long()) {
        self.error_ = Errc::too_long;
        return;
    }
    try {
        self.text_.resize(self.search_.found_at());
    } catch (...) {
        self.error_ = std::make_error_code(std::errc::not_enough_memory);  // nothing is consumed
        return;
    }
    self.link_->take_unread(std::as_writable_bytes(std::span(self.text_)));
    std::byte rest[64];
    self.link_->take_unread(std::span(rest).first(self.search_.delimiter().size()));
    self.satisfied_ = true;
}

Result<std::string> RecvUntilOp::await_resume() noexcept {
    if (!satisfied_) return error();
    return std::move(text_);
}

// ---- SendOp

SendOp::SendOp(detail::LinkState* link, std::span<const std::byte> bytes) noexcept : link_(link) {
    source = bytes.data();
    left = bytes.size();
    kind = Kind::bytes;
}

SendOp::SendOp(detail::LinkState* link, std::span<const IoSlice> slices) noexcept : link_(link) {
    source = slices.data();
    for (const IoSlice& slice : slices) left += slice.bytes.size();
    kind = Kind::slices;
}

SendOp::SendOp(detail::LinkState* link, Payload&& payload) noexcept : link_(link) {
    left = payload.size();
    source = std::exchange(payload.block_, nullptr);
    kind = Kind::payload;
}

SendOp::SendOp(detail::LinkState* link, EndOfStream) noexcept : link_(link) {
    kind = Kind::end_of_stream;
}

void SendOp::drop_source() noexcept {
    void* const owned = const_cast<void*>(source);
    if (kind == Kind::payload) return static_cast<detail::PayloadBlock*>(owned)->release();
    detail::Segment::release_all(static_cast<detail::Segment*>(owned));
}

void SendOp::arrive(detail::InboxNode& node) noexcept {
    detail::TaskContext& task = arrived_task(node);
    auto& self = static_cast<SendOp&>(*task.waiter);
    detail::LinkState& link = *self.link_;
    has_begun(task, link, self.start(*task.leaf, task.resume));
}

bool SendOp::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (error_) return false;  // refused
    if (!link_->at_home(*node.context)) {
        go_home(*this, *link_, node, handle, arrive);
        return true;
    }
    if (link_->write_error() || !link_->is_open()) {
        error_ = link_->write_error() ? link_->write_error() : make_error_code(Errc::closed);
        return false;
    }
    if (node.context->is_cancelled()) {
        error_ = Errc::cancelled;
        return false;
    }
    waits_in = kind == Kind::end_of_stream ? detail::WaitKind::shutdown_write : detail::WaitKind::send;
    done = on_done;
    cancel = end_early;
    suspend(*this, node, handle, limit_);
    link_->enqueue(*this);
    return true;
}

void SendOp::on_done(detail::SendUnit& unit, detail::PackedError error) noexcept {
    auto& self = static_cast<SendOp&>(unit);
    self.error_ = error;
    if (self.claim.try_claim_alone(detail::Wake::completed)) detail::finish(self);
}

void SendOp::end_early(detail::Waiter& waiter, detail::Wake why) noexcept {
    auto& self = static_cast<SendOp&>(waiter);
    self.link_->interrupt(self, why);
}

// ---- closes

namespace detail {

CloseWait::CloseWait(LinkState* link, bool graceful) noexcept : link_(link), graceful_(graceful) {
    waits_in = WaitKind::close;
    cancel = [](Waiter& waiter, Wake) noexcept {
        static_cast<CloseWait&>(waiter).link_->close_no_longer();  // its end completes this
    };
}

void CloseWait::arrive(InboxNode& node) noexcept {
    TaskContext& task = arrived_task(node);
    auto& self = static_cast<CloseWait&>(*task.waiter);
    LinkState& link = *self.link_;
    has_begun(task, link, self.start(*task.leaf, task.resume));
}

bool CloseWait::start(FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (!link_->at_home(*node.context)) {
        go_home(*this, *link_, node, handle, arrive);
        return true;
    }
    LinkState& link = *link_;
    if (link.closed()) return false;
    const bool cancelled = node.context->is_cancelled();
    begin(node, handle, limit_);
    link.begin_close(this);  // it may be over at once: from here on the task may run elsewhere
    if (cancelled) link.abort();
    return true;
}

}  // namespace detail

CHAINRING_END_NAMESPACE
