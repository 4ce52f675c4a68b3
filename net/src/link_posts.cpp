// SPDX-License-Identifier: BSL-1.0
// Posts: what tasks and threads send to a Link through its Outboxes, up to where it joins the Link's queue. Which
// message is queued, dropped or has to wait is decided by OutboxCore.
#include "net/src/link_limits.hpp"
#include "net/src/link_state.hpp"
#include "net/src/posts.hpp"

#include <atomic>
#include <memory>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

PayloadBlock* block_of(const SendUnit& unit) noexcept {
    return static_cast<PayloadBlock*>(const_cast<void*>(unit.source));
}

void free_units(UnitList<SendUnit> units) noexcept {
    while (SendUnit* unit = units.pop()) delete static_cast<PostUnit*>(unit);
}

}  // namespace

PostUnit::PostUnit(Posts& of, PayloadBlock* payload) noexcept : posts(of) {
    kind = Kind::payload;
    source = payload;
    left = payload ? payload->text.size() : 0;
    done = [](SendUnit& unit, PackedError) noexcept {
        Granted granted;
        auto* self = static_cast<PostUnit*>(&unit);
        self->posts.core.done(self->sent + self->left, granted);
        granted.wake();
        delete self;
    };
}

PostUnit::~PostUnit() {
    if (PayloadBlock* payload = block_of(*this)) payload->release();
}

LinkState::~LinkState() {
    drop_unread();  // what a recv_exact put back after the end
    delete posts_.load(std::memory_order_acquire);
    delete limits_.load(std::memory_order_acquire);
}

// ---- any thread

void LinkState::accept_posts(const OutboxOptions& options) {
    Posts* shared = posts_.load(std::memory_order_acquire);
    std::unique_ptr<Posts> made;
    if (!shared) {
        made = std::make_unique<Posts>();
        shared = made.get();
    }
    Granted granted;
    shared->core.configure(options, granted);
    if (made) posts_.store(made.release(), std::memory_order_release);  // home sees it whole
    granted.wake();
    signal(remote_posts);  // for those who found room now; and home refuses if the Link has ended
}

Posted LinkState::post(PayloadBlock* payload) {
    Posts& shared = posts();
    std::unique_ptr<PostUnit> unit;
    try {
        unit = std::make_unique<PostUnit>(shared, payload);
    } catch (...) {
        if (payload) payload->release();
        throw;
    }
    UnitList<SendUnit> dropped;
    Granted granted;
    const Posted outcome = shared.core.post(*unit, dropped, granted);
    granted.wake();
    free_units(dropped);
    if (outcome == Posted::queued || outcome == Posted::dropped_older) {
        unit.release();  // home's, or gone by now
        signal(remote_posts);
    } else if (outcome == Posted::overflow) {
        request_abort();
    }
    return outcome;
}

// ---- home

bool LinkState::any_waiting(const Posts& posts) noexcept {
    return posts.core.any_waiting();
}

void LinkState::look_at_posts() noexcept {
    if (phase_ >= Phase::ending || write_error_) {
        end_posts();
        return;
    }
    if (phase_ != Phase::open) refuse_posts();
    if (write_ends_) half_close_posts();  // of an Outbox that was made later
    queue_posts(TakePosts::early);
    if (!posts_waiting()) return;
    if (send_op().armed)
        expect_sent();
    else
        home().flush_later(*this);
}

void LinkState::queue_posts(Posts& posts, TakePosts moment) noexcept {
    UnitList<SendUnit> units = posts.core.take(static_cast<decltype(posts.core)::Take>(moment));
    while (SendUnit* unit = units.pop()) append(*unit);
}

// Closing: what was posted is still sent.
void LinkState::refuse_posts() noexcept {
    Posts* shared = posts_.load(std::memory_order_acquire);
    if (!shared) return;
    Granted granted;
    shared->core.refuse(granted);
    granted.wake();
    queue_posts(TakePosts::all);
}

// Before a half close is queued: what was posted goes before it, and later posts are refused.
void LinkState::half_close_posts() noexcept {
    write_ends_ = true;
    Posts* shared = posts_.load(std::memory_order_acquire);
    if (!shared) return;
    Granted granted;
    shared->core.half_close(granted);
    granted.wake();
    queue_posts(TakePosts::all);
}

// A half close was taken out of the queue again: unless another one is left, posts are sent as before.
void LinkState::reopen_posts() noexcept {
    if (fin_sent_) return;
    for (const SendUnit* unit = out_head_; unit; unit = unit->next)
        if (unit->kind == SendUnit::Kind::end_of_stream) return;
    write_ends_ = false;
    if (Posts* shared = posts_.load(std::memory_order_acquire)) shared->core.reopen();
}

void LinkState::end_posts() noexcept {
    Posts* shared = posts_.load(std::memory_order_acquire);
    if (!shared) return;
    Granted granted;
    const UnitList<SendUnit> units = shared->core.end(granted);
    granted.wake();
    free_units(units);
}

}  // namespace detail

// ---- Outbox

Outbox::Outbox(detail::LinkState& link) noexcept : link_(&link) {
    link.add_handle();
}

Outbox::Outbox(const Outbox& other) noexcept : link_(other.link_) {
    if (link_) link_->add_handle();
}

Outbox::~Outbox() {
    if (link_) link_->drop_handle();
}

Posted Outbox::post(Payload payload) const {
    return link_ ? link_->post(std::exchange(payload.block_, nullptr)) : Posted::closed;
}

Outbox::Wait Outbox::send(Payload payload) const noexcept {
    return Wait(*this, Wait::For::send, std::move(payload));
}
Outbox::Wait Outbox::writable() const noexcept {
    return Wait(*this, Wait::For::writable, Payload());
}
Outbox::Wait Outbox::drained() const noexcept {
    return Wait(*this, Wait::For::drained, Payload());
}

std::size_t Outbox::queued() const noexcept {
    return link_ ? link_->posts().core.bytes() : 0;
}
std::uint64_t Outbox::dropped() const noexcept {
    return link_ ? link_->posts().core.dropped() : 0;
}
unsigned Outbox::home() const noexcept {
    return link_->home_index();
}

// ---- Outbox::Wait

namespace {

// The queue of a wait; that of an empty Outbox is never waited in.
detail::WaitQueue& queue_of(detail::LinkState* link, Outbox::Wait::For what) noexcept {
    static detail::WaitQueue* const nobodys = new detail::WaitQueue;  // never destroyed, as others' statics may wait
    if (!link) return *nobodys;
    auto& core = link->posts().core;
    return what == Outbox::Wait::For::drained ? core.waiting_for_drain() : core.waiting_for_room();
}

}  // namespace

Outbox::Wait::Wait(const Outbox& outbox, For what, Payload&& payload) noexcept
    : OutboxEntry(queue_of(outbox.link_, what), detail::WaitKind::outbox),
      outbox_(outbox),
      payload_(std::move(payload)),
      for_(what) {}

Outbox::Wait::~Wait() {
    delete static_cast<detail::PostUnit*>(unit);  // it was not queued
}

bool Outbox::Wait::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (node.context->is_cancelled()) return refuse(detail::Wake::cancelled);
    if (!outbox_) return refuse(detail::Wake::closed);
    detail::Posts& posts = outbox_.link_->posts();
    const auto publish = [&]() noexcept { begin(node, handle, limit_); };
    detail::Wake outcome = detail::Wake::none;
    switch (for_) {
        case For::writable:
            outcome = posts.core.writable(*this, publish);
            break;
        case For::drained:
            outcome = posts.core.drained(*this, publish);
            break;
        case For::send: {
            try {
                unit = new detail::PostUnit(posts, payload_.block_);
            } catch (...) {
                no_memory_ = true;
                return refuse(detail::Wake::closed);
            }
            payload_.block_ = nullptr;  // the unit's now
            outcome = posts.core.send(*this, publish);
            if (outcome == detail::Wake::completed) outbox_.link_->posts_are_waiting();
            break;
        }
    }
    return outcome == detail::Wake::none || refuse(outcome);
}

Result<void> Outbox::Wait::await_resume() const noexcept {
    if (no_memory_) return std::make_error_code(std::errc::not_enough_memory);
    return error();
}

CHAINRING_END_NAMESPACE
