// SPDX-License-Identifier: BSL-1.0
// EventCore: who is let through, and when. How a task suspends is Event's business. Not for users.
//
//   1 clear  wait lists its entry (WaitList, states 2 to 5)
//   2 set    set() grants every entry that is listed, oldest first, in one hold of the mutex; nobody is listed any
//   more,
//            and wait goes through at once
//   1 again  reset(): those whom set() has granted are through, whatever comes later
//
// If cancel wins: set() passes the entry over; it has lost nothing, for the event stays set.
//
// Written over List, a WaitList: in production WaitQueue.
#pragma once

#include <chainring/config.hpp>
#include <chainring/wait_list.hpp>

#include <mutex>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <class List>
class EventCore {
public:
    using Entry = typename List::Entry;
    using Grants = typename List::Grants;

    // True: the event is set. False: the entry is listed; `begin` has made it complete, under the mutex.
    template <class Begin>
    bool wait(Entry& entry, Begin&& begin) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        if (set_) return true;
        begin();
        waiting_.push(entry);
        return false;
    }

    // The caller wakes who was granted, and touches the core no more.
    void set(Grants& granted) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        set_ = true;
        waiting_.grant_all(granted);
    }

    void reset() noexcept {
        const std::lock_guard lock(waiting_.mutex());
        set_ = false;
    }

    bool is_set() const noexcept {
        const std::lock_guard lock(waiting_.mutex());
        return set_;
    }

    List& waiting() noexcept { return waiting_; }

private:
    List waiting_;
    bool set_ = false;  // guarded by the list's mutex
};

}  // namespace detail
CHAINRING_END_NAMESPACE
