// SPDX-License-Identifier: BSL-1.0
// The waits of a TokenBucket: suspending, timers, and posts to the waiters' workers. Who gets tokens and whose turn it
// is says TokenCore.
#include <chainring/task_context.hpp>
#include <chainring/token_bucket.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/worker.hpp"

#include <algorithm>
#include <thread>

CHAINRING_BEGIN_NAMESPACE

namespace {

std::uint64_t burst_of(std::uint64_t per_second, std::uint64_t burst) noexcept {
    if (burst != 0) return burst;
    return std::clamp<std::uint64_t>(per_second / 10, 1, detail::TokenLevel::most_tokens);
}

}  // namespace

TokenBucket::TokenBucket(std::uint64_t per_second, std::uint64_t burst) noexcept
    : core_(per_second, burst_of(per_second, burst)) {
    CHAINRING_REQUIRE(per_second >= 1 && per_second <= detail::TokenLevel::most_per_second,
                      "a TokenBucket gets 1 to 2^40 tokens a second");
    CHAINRING_REQUIRE(burst <= detail::TokenLevel::most_tokens, "a TokenBucket holds at most 2^32 tokens");
}

TokenBucket::~TokenBucket() {
    CHAINRING_REQUIRE(core_.nobody_waits(), "a TokenBucket was destroyed while a task waits for it");
    while (!core_.waiting().gone_quiet()) std::this_thread::yield();
}

bool TokenBucket::try_take(std::uint64_t tokens) noexcept {
    return core_.try_take(tokens, now);
}

void TokenBucket::charge(std::uint64_t tokens) noexcept {
    core_.look(now, [&](detail::TokenLevel& level) { level.charge(tokens); });  // the first in line notices at its look
}

Duration TokenBucket::time_until(std::uint64_t tokens) noexcept {
    return core_.look(now, [&](const detail::TokenLevel& level) { return level.until(tokens); });
}

std::uint64_t TokenBucket::available() noexcept {
    return core_.look(now, [](const detail::TokenLevel& level) { return level.whole(); });
}

bool TokenBucket::idle() noexcept {
    return core_.look(now, [](const detail::TokenLevel& level) { return level.full(); }) && core_.nobody_waits();
}

void TokenBucket::wake(Core::Grants& granted) noexcept {
    while (detail::TokenWait* wait = granted.take()) wait->task->worker()->post(wait->turn_node_);
}

namespace detail {

TokenWait::TokenWait(TokenBucket& bucket, std::uint64_t count) noexcept : tokens(count), bucket_(bucket) {
    waits_in = WaitKind::token_bucket;
    cancel = end_early;
    turn_node_.wait = this;
    turn_node_.run = [](InboxNode& node) noexcept { static_cast<TurnNode&>(node).wait->on_turn(); };
}

bool TokenWait::start(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept {
    if (node.context->is_cancelled()) {
        claim.settle(Wake::cancelled);
        return false;
    }
    end = earlier_of(limit, *node.context);
    const auto publish = [&](Instant at) noexcept {
        Limit until;
        until.until(at);
        begin(node, handle, until);
    };
    if (!bucket_.core_.take(*this, now, publish)) return true;
    claim.settle(Wake::completed);
    return false;
}

// On the task's worker: a cancel, or the timer, which is the limit or the time to look.
void TokenWait::end_early(Waiter& waiter, Wake why) noexcept {
    auto& self = static_cast<TokenWait&>(waiter);
    if (!self.has_turn) {
        if (!self.try_claim(why)) return;  // granted: the wake is on its way, and the bucket may be gone
        self.bucket_.core_.waiting().leave(self);
        self.finish();
        return;
    }
    TokenBucket::Core::Grants granted;
    Instant next{};
    if (self.bucket_.core_.end_turn(self, why, now, next, granted) == Wake::none) {
        self.task->worker()->timers().arm(self, next);
        return;
    }
    self.finish();
    TokenBucket::wake(granted);
}

// Granted; on the task's worker.
void TokenWait::on_turn() noexcept {
    if (paid) {
        finish();  // the bucket may be gone
        return;
    }
    // Not under the mutex: it may end waits of the task's children.
    const bool cancelled = task->is_cancelled() || stopped.load(std::memory_order_seq_cst);
    TokenBucket::Core::Grants granted;
    Instant next{};
    if (bucket_.core_.begin_turn(*this, cancelled, now, next, granted) == Wake::none) {
        task->worker()->timers().arm(*this, next);
        return;
    }
    finish();
    TokenBucket::wake(granted);
}

}  // namespace detail

CHAINRING_END_NAMESPACE
