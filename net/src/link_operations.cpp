// SPDX-License-Identifier: BSL-1.0
// The awaitables of Link: what each asks of its LinkState, and what it makes of the outcome.
#include <chainring/link_operations.hpp>
#include <chainring/trap.hpp>

#include "net/src/link_state.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

// ---- receives

namespace detail {

ReadOp::ReadOp(LinkState* link, Step step) noexcept : link_(link), step_(step) {
    waits_in = WaitKind::recv;
    cancel = [](Waiter& waiter, Wake why) noexcept {
        auto& self = static_cast<ReadOp&>(waiter);
        self.link_->end_read(self, why);
    };
}

bool ReadOp::start(FrameNode& node, std::coroutine_handle<> handle) noexcept {
    return link_->start_read(*this, node, handle);
}

std::error_code ReadOp::error() const noexcept {
    return link_->read_error(outcome());
}

}  // namespace detail

namespace {

// On the way out of each await_resume: from then on the Link may go.
class Resumed {
public:
    explicit Resumed(detail::LinkState& link) noexcept : link_(link) {}
    Resumed(const Resumed&) = delete;
    Resumed& operator=(const Resumed&) = delete;
    ~Resumed() { link_.read_resumed(); }

private:
    detail::LinkState& link_;
};

}  // namespace

RecvOp::RecvOp(detail::LinkState* link) noexcept
    : ReadOp(link, [](detail::ReadOp& op) noexcept { return static_cast<RecvOp&>(op).link_->unread() > 0; }) {}

Result<Chunk> RecvOp::await_resume() noexcept {
    const Resumed resumed(*link_);
    if (link_->unread() == 0) return error();
    return link_->take_all_unread();
}

RecvIntoOp::RecvIntoOp(detail::LinkState* link, std::span<std::byte> into) noexcept : ReadOp(link, step), into_(into) {
    CHAINRING_REQUIRE(!into.empty(), "recv needs room for at least one byte");
}

bool RecvIntoOp::step(detail::ReadOp& op) noexcept {
    auto& self = static_cast<RecvIntoOp&>(op);
    self.taken_ = self.link_->take_unread(self.into_);
    return self.taken_ > 0;
}

Result<std::size_t> RecvIntoOp::await_resume() noexcept {
    const Resumed resumed(*link_);
    if (taken_ == 0) return error();
    return taken_;
}

RecvExactOp::RecvExactOp(detail::LinkState* link, std::span<std::byte> into) noexcept
    : ReadOp(link, step), into_(into) {
    waits_in = detail::WaitKind::recv_exact;
}

bool RecvExactOp::step(detail::ReadOp& op) noexcept {
    auto& self = static_cast<RecvExactOp&>(op);
    self.taken_ += self.link_->take_unread(self.into_.subspan(self.taken_));
    return self.taken_ == self.into_.size();
}

Result<void> RecvExactOp::await_resume() {
    const Resumed resumed(*link_);
    if (satisfied_) return {};
    const std::error_code why = error();
    link_->put_back(into_.first(taken_));
    return why;
}

RecvUntilOp::RecvUntilOp(detail::LinkState* link, std::string_view delimiter, std::size_t max) noexcept
    : ReadOp(link, step), delimiter_(delimiter), max_(std::min<std::size_t>(max, 16U << 20)) {
    waits_in = detail::WaitKind::recv_until;
    accumulates_ = true;
    CHAINRING_REQUIRE(!delimiter.empty() && delimiter.size() <= 64, "recv_until takes a delimiter of 1 to 64 bytes");
}

// Looks for the delimiter in what is unread, from where the last look ended. Segments are walked with a window that
// carries the last delimiter.size() - 1 bytes over their edges.
bool RecvUntilOp::step(detail::ReadOp& op) noexcept {
    auto& self = static_cast<RecvUntilOp&>(op);
    const std::string_view delimiter = self.delimiter_;
    std::size_t start = 0;  // position of the segment's first byte in the queue
    std::string_view::value_type carried[64];
    std::size_t carry = 0;  // bytes of earlier segments in front of this one
    for (const detail::Segment* at = self.link_->first_unread(); at; start += at->size, at = at->next) {
        if (start + at->size <= self.searched_) {
            carry = 0;
            continue;
        }
        const std::size_t skip = self.searched_ > start ? self.searched_ - start : 0;
        const std::string_view bytes = as_text({at->data, at->size}).substr(skip);
        if (carry > 0) {
            char joint[128];
            std::memcpy(joint, carried, carry);
            const std::size_t more = std::min(bytes.size(), delimiter.size() - 1);
            std::memcpy(joint + carry, bytes.data(), more);
            if (const auto found = std::string_view(joint, carry + more).find(delimiter);
                found != std::string_view::npos) {
                self.found_ = start + skip - carry + found;
                self.too_long_ = self.found_ > self.max_;
                return true;
            }
        }
        if (const auto found = bytes.find(delimiter); found != std::string_view::npos) {
            self.found_ = start + skip + found;
            self.too_long_ = self.found_ > self.max_;
            return true;
        }
        // Keep the tail that may begin the delimiter.
        const std::size_t keep = delimiter.size() - 1;
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
    self.searched_ = start - std::min(start, delimiter.size() - 1);
    self.too_long_ = start >= self.max_ + delimiter.size();
    return self.too_long_;
}

Result<std::string> RecvUntilOp::await_resume() {
    const Resumed resumed(*link_);
    if (too_long_) return Errc::too_long;
    if (!satisfied_) return error();
    // The Link may have ended, and dropped what was unread, since the delimiter was found.
    if (link_->unread() < found_ + delimiter_.size()) return error();
    std::string text(found_, '\0');
    link_->take_unread(std::as_writable_bytes(std::span(text)));
    std::byte rest[64];
    link_->take_unread(std::span(rest).first(delimiter_.size()));
    return text;
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

SendOp::SendOp(detail::LinkState* link, Chunk&& chunk) noexcept : link_(link) {
    left = std::exchange(chunk.size_, 0);
    source = std::exchange(chunk.first_, nullptr);
    kind = Kind::segments;
}

SendOp::SendOp(detail::LinkState* link, EndOfStream) noexcept : link_(link) {
    kind = Kind::end_of_stream;
}

SendOp::~SendOp() {
    if (kind != Kind::segments) return;
    auto* segment = static_cast<detail::Segment*>(const_cast<void*>(source));
    while (segment) std::exchange(segment, segment->next)->release();
}

bool SendOp::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    link_->require_home();
    if (link_->write_error() || !link_->is_open()) {
        error_ = link_->write_error() ? link_->write_error() : make_error_code(Errc::closed);
        return false;
    }
    if (node.context->cancelled) {
        error_ = Errc::cancelled;
        return false;
    }
    waits_in = kind == Kind::end_of_stream ? detail::WaitKind::shutdown_write : detail::WaitKind::send;
    done = on_done;
    cancel = end_early;
    begin(node, handle, limit_);
    link_->enqueue(*this);
    return true;
}

Result<std::size_t> SendOp::await_resume() noexcept {
    if (error_) return std::error_code(error_);
    return SendUnit::sent;
}

void SendOp::on_done(detail::SendUnit& unit, std::error_code error) noexcept {
    auto& self = static_cast<SendOp&>(unit);
    self.error_ = error;
    if (self.try_claim(detail::Wake::completed)) self.finish();
}

void SendOp::end_early(detail::Waiter& waiter, detail::Wake why) noexcept {
    auto& self = static_cast<SendOp&>(waiter);
    self.link_->interrupt(self, why);
}

// ---- CloseOp

CloseOp::CloseOp(detail::LinkState* link) noexcept : link_(link) {
    waits_in = detail::WaitKind::close;
    cancel = [](detail::Waiter& waiter, detail::Wake) noexcept {
        static_cast<CloseOp&>(waiter).link_->abort();  // its end completes this
    };
}

bool CloseOp::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    link_->require_home();
    if (link_->closed()) return false;
    begin(node, handle, limit_);
    link_->begin_close(this);
    if (node.context->cancelled) link_->abort();
    return true;
}

CHAINRING_END_NAMESPACE
