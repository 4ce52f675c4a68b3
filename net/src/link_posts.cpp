// SPDX-License-Identifier: BSL-1.0
// Posts: what any thread sends to a Link through its Outboxes.
#include "net/src/link_limits.hpp"
#include "net/src/link_state.hpp"

#include <atomic>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// What the Outboxes of a Link share. Every member: any thread.
struct Posts {
    std::atomic<SendUnit*> newest{nullptr};  // posters push, home takes all
    std::atomic<std::size_t> bytes{0};       // posted and not yet taken by the kernel
    std::atomic<std::size_t> limit{0};
    std::atomic<bool> accepted{true};
};

namespace {

// What an Outbox posts: a unit with the payload that it sends.
struct PostUnit : SendUnit {
    PostUnit(Posts& of, Payload&& what) noexcept : posts(&of), payload(std::move(what)) {
        source = payload.bytes().data();
        left = payload.size();
    }
    Posts* posts;
    Payload payload;
};

}  // namespace

LinkState::~LinkState() {
    drop_unread();  // what a recv_exact put back after the end
    delete posts_.load(std::memory_order_acquire);
    delete limits_.load(std::memory_order_acquire);
}

void LinkState::accept_posts(std::size_t limit) {
    Posts* posts = posts_.load(std::memory_order_acquire);
    const bool first = !posts;
    if (first) posts = new Posts;
    posts->limit.store(limit, std::memory_order_relaxed);
    if (!first) return;
    posts_.store(posts, std::memory_order_release);  // home sees them whole
    signal(remote_posts);                            // home refuses them if the Link has ended
}

void LinkState::refuse_posts() noexcept {
    if (Posts* posts = posts_.load(std::memory_order_acquire)) posts->accepted.store(false, std::memory_order_relaxed);
}

std::size_t LinkState::posted() const noexcept {
    return posts_.load(std::memory_order_acquire)->bytes.load(std::memory_order_relaxed);
}

Posted LinkState::post(Payload payload) {
    Posts& posts = *posts_.load(std::memory_order_acquire);
    if (!posts.accepted.load(std::memory_order_relaxed)) return Posted::closed;
    const std::size_t length = payload.size();
    const std::size_t before = posts.bytes.fetch_add(length, std::memory_order_relaxed);
    if (before + length > posts.limit.load(std::memory_order_relaxed)) {
        posts.bytes.fetch_sub(length, std::memory_order_relaxed);
        refuse_posts();
        request_abort();
        return Posted::overflow;
    }
    PostUnit* unit = nullptr;
    try {
        unit = new PostUnit(posts, std::move(payload));
    } catch (...) {
        posts.bytes.fetch_sub(length, std::memory_order_relaxed);
        throw;
    }
    unit->done = [](SendUnit& ended, std::error_code) noexcept {
        auto* self = static_cast<PostUnit*>(&ended);
        self->posts->bytes.fetch_sub(self->payload.size(), std::memory_order_relaxed);
        delete self;
    };
    SendUnit* head = posts.newest.load(std::memory_order_relaxed);
    do {
        unit->next = head;
        // release: home sees the unit's fields when it takes the list.
    } while (!posts.newest.compare_exchange_weak(head, unit, std::memory_order_release, std::memory_order_relaxed));
    signal(remote_posts);
    return Posted::queued;
}

// Moves what was posted behind the queue, in the order of the posts.
void LinkState::take_posts() noexcept {
    Posts* posts = posts_.load(std::memory_order_acquire);
    if (!posts) return;
    SendUnit* newest = posts->newest.exchange(nullptr, std::memory_order_acquire);  // pairs with post
    SendUnit* oldest = nullptr;
    while (newest) oldest = std::exchange(newest, std::exchange(newest->next, oldest));
    while (oldest) {
        SendUnit& unit = *oldest;
        oldest = oldest->next;
        if (write_error_ || phase_ >= Phase::ending)
            unit.done(unit, make_error_code(Errc::closed));
        else
            enqueue(unit);
    }
}

}  // namespace detail

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
    return link_ ? link_->post(std::move(payload)) : Posted::closed;
}

std::size_t Outbox::queued() const noexcept {
    return link_ ? link_->posted() : 0;
}

CHAINRING_END_NAMESPACE
