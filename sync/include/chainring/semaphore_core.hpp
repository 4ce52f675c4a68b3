// SPDX-License-Identifier: BSL-1.0
// SemaphoreCore: who gets a permit, and when. How a task suspends is Semaphore's business. Not for users.
//
//   1 free     permits > 0, and nobody waits: acquire takes one at once
//   2 none     permits == 0: acquire lists its entry (WaitList, states 2 to 5)
//   3 release  each permit goes to the oldest entry whose claim it wins; what is left is added to the permits
//
// Nobody is overtaken: permits are added only after grant() has found the list empty, so that in state 1 no entry waits
// that could still be granted.
// If cancel wins: the release passes the entry over, and the permit goes to the next one or back to the permits. If it
// loses, the entry owns a permit.
//
// Written over List, a WaitList: in production WaitQueue.
#pragma once

#include <chainring/config.hpp>
#include <chainring/wait_list.hpp>

#include <cstddef>
#include <mutex>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <class List>
class SemaphoreCore {
public:
    using Entry = typename List::Entry;
    using Grants = typename List::Grants;

    explicit SemaphoreCore(std::size_t permits) noexcept : permits_(permits) {}

    // True: a permit was there. False: the entry is listed; `begin` has made it complete, under the mutex.
    template <class Begin>
    bool acquire(Entry& entry, Begin&& begin) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        if (take()) return true;
        begin();
        waiting_.push(entry);
        return false;
    }

    bool try_acquire() noexcept {
        const std::lock_guard lock(waiting_.mutex());
        return take();
    }

    // The caller wakes who was granted, and touches the core no more.
    void release(std::size_t permits, Grants& granted) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        for (; permits > 0; --permits) {
            Entry* entry = waiting_.grant();
            if (!entry) break;
            granted.add(*entry);
        }
        permits_ += permits;
    }

    std::size_t available() const noexcept {
        const std::lock_guard lock(waiting_.mutex());
        return permits_;
    }

    List& waiting() noexcept { return waiting_; }

private:
    bool take() noexcept {
        if (permits_ == 0) return false;
        --permits_;
        return true;
    }

    List waiting_;
    std::size_t permits_;  // guarded by the list's mutex
};

}  // namespace detail
CHAINRING_END_NAMESPACE
