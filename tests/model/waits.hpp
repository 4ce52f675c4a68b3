// SPDX-License-Identifier: BSL-1.0
// What the tests of the cores of sync share: entries that wait as tasks do, without tasks. An entry's owner is one
// thread of the model, which stands for the task and its worker; it alone ends its wait early, as in production, and it
// frees the entry as soon as the wait has ended.
#pragma once

#include <chainring/claim.hpp>
#include <chainring/wait_list.hpp>

#include "tests/model/checker/explore.hpp"

#include <memory>

namespace model {

using chainring::detail::ClaimWord;
using chainring::detail::Wake;

struct Nobody {};

struct Entry : chainring::detail::WaitLinks<Entry> {
    bool try_claim(Wake why) noexcept { return claim.try_claim(why); }

    ClaimWord<Atomic> claim;
    Atomic<bool> woken{false};  // for the post to the waiter's worker
    Nobody* task = nullptr;
    unsigned ticket = 0;  // its place in the order of listing
};

// As WaitQueue: its end waits for those who leave.
struct List : chainring::detail::WaitList<Entry, Mutex, Nobody> {
    using WaitList::WaitList;
    ~List() {
        while (!gone_quiet()) yield();
    }
};

// As Granted::wake. Checks that one call grants in the order of listing.
inline void wake(List::Grants& granted) {
    unsigned last = 0;
    while (Entry* entry = granted.take()) {
        check(entry->ticket >= last, "first in, first out");
        last = entry->ticket;
        entry->woken.store(true, std::memory_order_release);  // after it the entry may be gone
    }
}

// The wait of a listed entry. An impatient one is cancelled at whatever moment the schedule lets it go on.
inline Wake end_of_wait(List& list, Entry& entry, bool impatient) {
    if (impatient && entry.try_claim(Wake::cancelled)) {
        list.leave(entry);
        return Wake::cancelled;
    }
    while (!entry.woken.load(std::memory_order_acquire))
        wait_until([&] { return entry.woken.load(); }, "for the wake of an entry");
    return entry.claim.outcome();
}

}  // namespace model
