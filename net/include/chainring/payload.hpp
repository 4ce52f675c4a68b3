// SPDX-License-Identifier: BSL-1.0
// Payload: bytes that never change, counted, so that one buffer serves any number of receivers. Copying it copies a
// pointer. Any thread; the bytes are freed with the last copy.
#pragma once

#include <chainring/config.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

class Payload {
public:
    Payload() noexcept = default;
    // Takes the text over; one allocation for the count.
    explicit Payload(std::string text) : text_(std::make_shared<const std::string>(std::move(text))) {}

    std::span<const std::byte> bytes() const noexcept {
        if (!text_) return {};
        return {reinterpret_cast<const std::byte*>(text_->data()), text_->size()};
    }
    std::size_t size() const noexcept { return text_ ? text_->size() : 0; }
    // How many Payloads share the bytes now: exact only when no other thread copies one.
    long shared_by() const noexcept { return text_.use_count(); }

private:
    std::shared_ptr<const std::string> text_;
};

CHAINRING_END_NAMESPACE
