// SPDX-License-Identifier: BSL-1.0
// Who waits for tokens, and who has the timer.
//
// One waiter has the turn (TokenBucket::first_): its timer is armed, on its own worker, for when its tokens will be
// there, or for its limit. The others are in the list, in order, with timers for their limits alone. When nobody has
// the turn, the list is empty.
//
//   1 listed     the list's states 2 to 5 (wait_list.hpp)
//   2 granted    pass_turn_on() has won its claim. With its tokens (`paid_`): it resumes. Without: it is first_, and
//                its turn is on its way to its worker. A limit or cancel that comes meanwhile finds the claim taken.
//   3 first      on_turn(), on its worker: it looks at what it may have missed in 2, gives its claim back, and arms its
//                timer. From here on only its own worker ends the wait, so nothing contends for the claim.
//   4 ended      with its tokens, its limit or a cancel: it passes the turn on, under the mutex
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
    : level_(per_second, burst_of(per_second, burst)) {
    CHAINRING_REQUIRE(per_second >= 1 && per_second <= detail::TokenLevel::most_per_second,
                      "a TokenBucket gets 1 to 2^40 tokens a second");
    CHAINRING_REQUIRE(burst <= detail::TokenLevel::most_tokens, "a TokenBucket holds at most 2^32 tokens");
}

TokenBucket::~TokenBucket() {
    {
        const std::lock_guard lock(waiting_.mutex());
        CHAINRING_REQUIRE(!first_ && waiting_.empty(), "a TokenBucket was destroyed while a task waits for it");
    }
    while (!waiting_.gone_quiet()) std::this_thread::yield();
}

bool TokenBucket::try_take(std::uint64_t tokens) noexcept {
    const std::lock_guard lock(waiting_.mutex());
    level_.advance(now());
    return !first_ && level_.take(tokens);
}

void TokenBucket::charge(std::uint64_t tokens) noexcept {
    const std::lock_guard lock(waiting_.mutex());
    level_.advance(now());
    level_.charge(tokens);  // the first in line notices when its timer fires
}

Duration TokenBucket::time_until(std::uint64_t tokens) noexcept {
    const std::lock_guard lock(waiting_.mutex());
    level_.advance(now());
    return level_.until(tokens);
}

std::uint64_t TokenBucket::available() noexcept {
    const std::lock_guard lock(waiting_.mutex());
    level_.advance(now());
    return level_.whole();
}

bool TokenBucket::idle() noexcept {
    const std::lock_guard lock(waiting_.mutex());
    level_.advance(now());
    return !first_ && level_.full();
}

// With the mutex held, by the one whose turn it was. The caller wakes who was granted, without the mutex.
void TokenBucket::pass_turn_on(Instant now, Granted& granted) noexcept {
    first_ = nullptr;
    level_.advance(now);
    while (detail::TokenWait* next = waiting_.grant()) {
        next->paid_ = level_.take(next->tokens_);
        granted.add(*next);
        if (next->paid_) continue;
        first_ = next;
        return;
    }
}

void TokenBucket::wake(Granted& granted) noexcept {
    while (detail::TokenWait* wait = granted.take()) wait->task->worker()->post(wait->turn_node_);
}

namespace detail {

TokenWait::TokenWait(TokenBucket& bucket, std::uint64_t tokens) noexcept : bucket_(bucket), tokens_(tokens) {
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
    end_ = earlier_of(limit, *node.context);
    const std::lock_guard lock(bucket_.waiting_.mutex());
    if (bucket_.first_) {
        begin(node, handle, limit);
        bucket_.waiting_.push(*this);
        return true;
    }
    const Instant time = now();
    bucket_.level_.advance(time);
    if (bucket_.level_.take(tokens_)) {
        claim.settle(Wake::completed);
        return false;
    }
    Limit next_look;
    next_look.until(std::min(end_, time + bucket_.level_.until(tokens_)));
    begin(node, handle, next_look);
    bucket_.first_ = this;
    has_turn_ = true;
    return true;
}

// On the task's worker: a cancel, or the timer, which is the limit or the time to look.
void TokenWait::end_early(Waiter& waiter, Wake why) noexcept {
    auto& self = static_cast<TokenWait&>(waiter);
    if (!self.has_turn_) {
        if (!self.try_claim(why)) return;  // granted: the wake is on its way, and the bucket may be gone
        self.bucket_.waiting_.leave(self);
        self.finish();
        return;
    }
    TokenBucket& bucket = self.bucket_;
    TokenBucket::Granted granted;
    {
        const std::lock_guard lock(bucket.waiting_.mutex());
        const Instant time = now();
        if (why == Wake::timed_out) {
            bucket.level_.advance(time);
            if (bucket.level_.take(self.tokens_)) {
                why = Wake::completed;
            } else if (time < self.end_) {  // tokens were charged meanwhile
                const Instant next_look = time + bucket.level_.until(self.tokens_);
                self.task->worker()->timers().arm(self, std::min(self.end_, next_look));
                return;
            }
        }
        self.claim.settle(why);
        bucket.pass_turn_on(time, granted);
    }
    self.finish();
    TokenBucket::wake(granted);
}

// Granted; on the task's worker.
void TokenWait::on_turn() noexcept {
    if (paid_) {
        finish();  // the bucket may be gone
        return;
    }
    // Not under the mutex: it may end waits of the task's children.
    const bool cancelled = task->is_cancelled() || stopped.load(std::memory_order_seq_cst);
    TokenBucket::Granted granted;
    {
        const std::lock_guard lock(bucket_.waiting_.mutex());
        const Instant time = now();
        bucket_.level_.advance(time);
        Wake why = Wake::none;
        if (cancelled)
            why = Wake::cancelled;
        else if (bucket_.level_.take(tokens_))
            why = Wake::completed;
        else if (time >= end_)
            why = Wake::timed_out;
        claim.settle(why);
        if (why == Wake::none) {
            has_turn_ = true;
            task->worker()->timers().arm(*this, std::min(end_, time + bucket_.level_.until(tokens_)));
            return;
        }
        bucket_.pass_turn_on(time, granted);
    }
    finish();
    TokenBucket::wake(granted);
}

}  // namespace detail

CHAINRING_END_NAMESPACE
