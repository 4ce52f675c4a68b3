// SPDX-License-Identifier: BSL-1.0
// TokenCore: who gets tokens, who has the turn to wait for those that will come, and when it passes on. How a task
// suspends, its timer and its post are TokenBucket's business. Not for users.
//
// One waiter has the turn (`first_`): its timer is armed, on its own worker, for when its tokens will be there, or for
// its limit. The others are in the list, in order, with timers for their limits alone. When nobody has the turn, the
// list is empty.
//
//   1 listed     the list's states 2 to 5 (wait_list.hpp)
//   2 granted    the turn has come to it: its claim was won. With its tokens (`paid`): it resumes. Without: it is
//                `first_`, and its turn is on its way to its worker. A limit or cancel that comes meanwhile finds the
//                claim taken.
//   3 first      begin_turn(), on its worker: it looks at what it may have missed in 2 and gives its claim back. From
//                here on only its own worker ends the wait, so nothing contends for the claim.
//   4 ended      with its tokens, its limit or a cancel: the turn has passed on, in the same hold of the mutex
//
// Written over List, a WaitList whose Entry has `tokens`, `end`, `paid`, `has_turn` and the claim word `claim`.
// `clock` yields the time; it is asked with the mutex held.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>
#include <chainring/token_level.hpp>
#include <chainring/wait_list.hpp>

#include <algorithm>
#include <cstdint>
#include <mutex>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <class List>
class TokenCore {
public:
    using Entry = typename List::Entry;
    using Grants = typename List::Grants;

    TokenCore(std::uint64_t per_second, std::uint64_t burst) noexcept : level_(per_second, burst) {}

    // True: the tokens were there, and are taken. False: the entry waits. `begin(at)` has made it complete, under the
    // mutex: with the turn (`has_turn`) it ends its turn at that instant; listed, it has its limit then.
    template <class Clock, class Begin>
    bool take(Entry& entry, Clock&& clock, Begin&& begin) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        if (first_) {
            begin(entry.end);
            waiting_.push(entry);
            return false;
        }
        const Instant now = clock();
        level_.advance(now);
        if (level_.take(entry.tokens)) return true;
        begin(next_look(entry, now));
        first_ = &entry;
        entry.has_turn = true;
        return false;
    }

    // 2 -> 3 or 4, of an entry that was granted without its tokens, on its worker. Yields how the wait has ended, and
    // then the caller wakes who was granted; or none: the entry has the turn, and ends it at `next`.
    template <class Clock>
    Wake begin_turn(Entry& entry, bool cancelled, Clock&& clock, Instant& next, Grants& granted) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        const Instant now = clock();
        level_.advance(now);
        Wake why = Wake::none;
        if (cancelled)
            why = Wake::cancelled;
        else if (level_.take(entry.tokens))
            why = Wake::completed;
        else if (now >= entry.end)
            why = Wake::timed_out;
        entry.claim.settle(why);
        if (why == Wake::none) {
            entry.has_turn = true;
            next = next_look(entry, now);
        } else {
            pass_turn_on(now, granted);
        }
        return why;
    }

    // 3 -> 4, or not yet: `why` is a cancel, or timed_out for the timer, which is the limit or the time to look. Yields
    // as begin_turn.
    template <class Clock>
    Wake end_turn(Entry& entry, Wake why, Clock&& clock, Instant& next, Grants& granted) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        const Instant now = clock();
        if (why == Wake::timed_out) {
            level_.advance(now);
            if (level_.take(entry.tokens)) {
                why = Wake::completed;
            } else if (now < entry.end) {  // tokens were charged meanwhile
                next = next_look(entry, now);
                return Wake::none;
            }
        }
        entry.claim.settle(why);
        pass_turn_on(now, granted);
        return why;
    }

    // The first in line is not overtaken.
    template <class Clock>
    bool try_take(std::uint64_t tokens, Clock&& clock) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        level_.advance(clock());
        return !first_ && level_.take(tokens);
    }

    // Under the mutex: fn(level), which has been advanced; and whether nobody waits.
    template <class Clock, class Fn>
    auto look(Clock&& clock, Fn&& fn) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        level_.advance(clock());
        return fn(level_);
    }
    bool nobody_waits() const noexcept {
        const std::lock_guard lock(waiting_.mutex());
        return !first_ && waiting_.empty();
    }

    List& waiting() noexcept { return waiting_; }

private:
    // With the mutex held:

    Instant next_look(const Entry& entry, Instant now) const noexcept {
        return std::min(entry.end, now + level_.until(entry.tokens));
    }

    // By the one whose turn it was. The caller wakes who was granted, without the mutex.
    void pass_turn_on(Instant now, Grants& granted) noexcept {
        first_ = nullptr;
        level_.advance(now);
        while (Entry* next = waiting_.grant()) {
            next->paid = level_.take(next->tokens);
            granted.add(*next);
            if (next->paid) continue;
            first_ = next;
            return;
        }
    }

    List waiting_;
    TokenLevel level_;        // guarded by the list's mutex
    Entry* first_ = nullptr;  // guarded by it: the one whose turn it is; it is not in the list
};

}  // namespace detail
CHAINRING_END_NAMESPACE
