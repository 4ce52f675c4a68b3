// SPDX-License-Identifier: BSL-1.0
// Outbox: a counted handle through which any thread sends to a Link that some task reads. It is how a broadcast reaches
// its receivers. Posts leave in the order in which they were posted by each thread, each whole, and in between the
// Link's own sends.
//
// post() never waits. What was posted and not yet taken by the kernel is counted; a post that would take the count past
// the limit given to Link::outbox() says `overflow` and ends the Link with a reset: a receiver that does not read
// costs the others nothing but its limit.
//
// An Outbox keeps the Link's slot, not the Link: after the Link's end, post() says `closed`. Copying is cheap; any
// thread. A thread that is no worker must not use one, its destruction included, while run() returns or the Runtime is
// being destroyed.
#pragma once

#include <chainring/config.hpp>
#include <chainring/payload.hpp>

#include <cstddef>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {
class LinkState;
}

enum class Posted : unsigned char {
    queued,    // it will be sent, unless the Link ends before
    overflow,  // above the limit: not queued, and the Link is being reset
    closed,    // the Link has ended or is ending: not queued
};

class Outbox {
public:
    Outbox() noexcept = default;
    Outbox(const Outbox& other) noexcept;
    Outbox(Outbox&& other) noexcept : link_(std::exchange(other.link_, nullptr)) {}
    Outbox& operator=(Outbox other) noexcept {
        std::swap(link_, other.link_);
        return *this;
    }
    ~Outbox();

    // May throw std::bad_alloc; then nothing was queued.
    Posted post(Payload payload) const;
    // Bytes posted and not yet taken by the kernel. Any thread; a snapshot.
    std::size_t queued() const noexcept;

    explicit operator bool() const noexcept { return link_ != nullptr; }

private:
    friend class Link;
    explicit Outbox(detail::LinkState& link) noexcept;
    detail::LinkState* link_ = nullptr;
};

CHAINRING_END_NAMESPACE
