// SPDX-License-Identifier: BSL-1.0
// Payload: bytes that never change, counted, so that one buffer serves any number of receivers. Copying it copies a
// pointer. Any thread; the bytes are freed with the last copy, on whichever thread drops it.
#pragma once

#include <chainring/config.hpp>

#include <atomic>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// The bytes of Payloads and who counts them. `text` is constant.
struct PayloadBlock {
    explicit PayloadBlock(std::string&& bytes) noexcept : text(std::move(bytes)) {}
    const std::string text;
    std::atomic<long> holders{1};  // Payloads, and sends that carry it; any thread

    void hold() noexcept { holders.fetch_add(1, std::memory_order_relaxed); }  // by one who holds it already
    void release() noexcept {
        // acq_rel: whoever frees the bytes comes after everybody who has read them.
        if (holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
    std::span<const std::byte> bytes() const noexcept {
        return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
    }
};

}  // namespace detail

class Payload {
public:
    Payload() noexcept = default;
    // Takes the text over; one allocation for the count. Throws std::bad_alloc.
    explicit Payload(std::string text) : block_(new detail::PayloadBlock(std::move(text))) {}
    Payload(const Payload& other) noexcept : block_(other.block_) {
        if (block_) block_->hold();
    }
    Payload(Payload&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
    Payload& operator=(Payload other) noexcept {
        std::swap(block_, other.block_);
        return *this;
    }
    ~Payload() {
        if (block_) block_->release();
    }

    // Valid as long as a Payload shares them.
    std::span<const std::byte> bytes() const noexcept {
        if (!block_) return {};
        return block_->bytes();
    }
    std::size_t size() const noexcept { return block_ ? block_->text.size() : 0; }
    // How many Payloads share the bytes now, those in sends that are under way included: exact only when no other
    // thread copies one.
    long shared_by() const noexcept { return block_ ? block_->holders.load(std::memory_order_relaxed) : 0; }

private:
    friend class SendOp;
    friend class Outbox;
    detail::PayloadBlock* block_ = nullptr;
};

CHAINRING_END_NAMESPACE
