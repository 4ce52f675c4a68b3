// SPDX-License-Identifier: BSL-1.0
#include <chainring/framed.hpp>

#include "net/src/link_state.hpp"

CHAINRING_BEGIN_NAMESPACE

const detail::ReadOp::Kind FramedRecvOp::kind = {step, settle};

FramedRecvOp::FramedRecvOp(detail::FrameSource& source) noexcept : ReadOp(source.link(), kind), source_(source) {}

// Takes everything that the Link has: what is no whole frame yet is gathered in the source, not in the Link's queue.
bool FramedRecvOp::step(detail::ReadOp& op) noexcept {
    auto& self = static_cast<FramedRecvOp&>(op);
    self.source_.feed(self.link_->take_all_unread());
    if (self.source_.next()) return true;
    self.taken_ = self.source_.gathered();  // a message that has begun is waited for while the runtime drains
    self.source_.shrink();
    return false;
}

void FramedRecvOp::settle(detail::ReadOp& op) noexcept {
    auto& self = static_cast<FramedRecvOp&>(op);
    if (!self.satisfied_ && self.error() == Errc::eof && self.source_.gathered() > 0)
        self.error_ = Errc::unexpected_eof;
}

Result<FrameView> FramedRecvOp::await_resume() noexcept {
    if (!satisfied_) return error();
    if (source_.error()) return source_.error();
    return source_.message();
}

CHAINRING_END_NAMESPACE
