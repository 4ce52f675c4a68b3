// SPDX-License-Identifier: BSL-1.0
// Admission: which connections of a Listener are served, and how fast they are accepted. One for all its sockets (with
// Spread::reuse_port each worker has one), which own it together: one of them may still be closing when the first has
// gone.
//
// A connection counts from admit() until the Socket that it arrived in is destroyed, with the frame of its handler.
// Listener::serve does not return before.
#pragma once

#include <chainring/listener.hpp>
#include <chainring/token_bucket.hpp>

#include <atomic>
#include <cstdint>
#include <optional>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class Admission {
public:
    explicit Admission(const ListenOptions& options) noexcept : limit_(options.max_connections) {
        if (options.accepts_per_second != 0) rate_.emplace(options.accepts_per_second, options.accept_burst);
    }

    // Any worker.
    Admitted admit(Socket& socket) noexcept;
    void leave(Admitted as) noexcept { counter(as).fetch_sub(1, std::memory_order_relaxed); }

    std::uint32_t served() const noexcept { return served_.load(std::memory_order_relaxed); }

    // Null: no limit. A token is charged for each connection that was accepted.
    TokenBucket* rate() noexcept { return rate_ ? &*rate_ : nullptr; }

private:
    // Refusing costs a Link each. More at a time than this are closed without a word.
    static constexpr std::uint32_t most_refused = 256;

    using Counter = std::atomic<std::uint32_t>;  // workers add and take off; relaxed: a number that guards nothing
    static bool enter(Counter& counter, std::uint32_t limit) noexcept;
    Counter& counter(Admitted as) noexcept { return as == Admitted::served ? served_ : refused_; }

    std::uint32_t limit_;  // 0: none, and nothing is counted
    Counter served_{0};
    Counter refused_{0};
    std::optional<TokenBucket> rate_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
