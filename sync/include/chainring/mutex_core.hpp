// SPDX-License-Identifier: BSL-1.0
// MutexCore: who has the lock, and when. How a task suspends is Mutex's business. Not for users.
//
//   1 free    nobody has the lock, and nobody waits: lock and try_lock take it
//   2 held    lock lists its entry (WaitList, states 2 to 5), try_lock fails
//   3 unlock  the oldest entry whose claim it wins has the lock from that moment on (still 2: in between it was never
//             free, so nobody overtakes); with none, 1
//
// If cancel wins: unlock passes the entry over and hands the lock to the next one. If it loses, the entry has the lock
// and is to unlock it.
// The list's owner is the task that has the lock: set with 2 and with each handover, cleared with 1; null for a thread
// that is no task.
//
// Written over List, a WaitList: in production WaitQueue. An entry's `task` says who asks.
#pragma once

#include <chainring/config.hpp>
#include <chainring/wait_list.hpp>

#include <mutex>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <class List>
class MutexCore {
public:
    using Entry = typename List::Entry;
    using Grants = typename List::Grants;
    using Owner = typename List::Owner;

    // True: the lock is the entry's task's. False: the entry is listed; `begin` has made it complete, under the mutex.
    template <class Begin>
    bool lock(Entry& entry, Begin&& begin) noexcept {
        const std::lock_guard hold(waiting_.mutex());
        if (take(entry.task)) return true;
        begin();
        waiting_.push(entry);
        return false;
    }

    bool try_lock(Owner* task) noexcept {
        const std::lock_guard hold(waiting_.mutex());
        return take(task);
    }

    // The caller wakes who was granted, and touches the core no more.
    void unlock(Grants& granted) noexcept {
        const std::lock_guard hold(waiting_.mutex());
        if (Entry* next = waiting_.grant()) {
            waiting_.set_owner(next->task);
            granted.add(*next);
            return;
        }
        waiting_.set_owner(nullptr);
        locked_ = false;
    }

    bool is_locked() const noexcept {
        const std::lock_guard hold(waiting_.mutex());
        return locked_;
    }

    List& waiting() noexcept { return waiting_; }

private:
    bool take(Owner* task) noexcept {
        if (locked_) return false;
        locked_ = true;
        waiting_.set_owner(task);
        return true;
    }

    List waiting_;
    bool locked_ = false;  // guarded by the list's mutex
};

}  // namespace detail
CHAINRING_END_NAMESPACE
