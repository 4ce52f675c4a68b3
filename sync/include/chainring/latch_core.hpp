// SPDX-License-Identifier: BSL-1.0
// LatchCore: who is let through, and when. How a task suspends is Latch's business. Not for users.
//
//   1 counting  count > 0: wait lists its entry (WaitList, states 2 to 5); plain threads wait on the condition
//   2 open      count == 0, for good: the count_down that got there grants every entry, oldest first, and notifies the
//               threads, in one hold of the mutex; who comes later goes through at once
//
// Once its last count_down has released the mutex it touches only those whom it has granted: whoever gets through may
// destroy the latch, except while a plain thread is still in wait_blocking.
// If cancel wins: count_down passes the entry over; it has lost nothing, for the latch stays open.
//
// Written over List, a WaitList: in production WaitQueue; and Condition, what a thread waits on with its mutex.
#pragma once

#include <chainring/config.hpp>
#include <chainring/trap.hpp>
#include <chainring/wait_list.hpp>

#include <condition_variable>
#include <cstddef>
#include <mutex>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <class List, class Condition = std::condition_variable>
class LatchCore {
public:
    using Entry = typename List::Entry;
    using Grants = typename List::Grants;

    explicit LatchCore(std::size_t count) noexcept : count_(count) {}

    // True: the latch is open. False: the entry is listed; `begin` has made it complete, under the mutex.
    template <class Begin>
    bool wait(Entry& entry, Begin&& begin) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        if (count_ == 0) return true;
        begin();
        waiting_.push(entry);
        return false;
    }

    void wait_blocking() {
        std::unique_lock lock(waiting_.mutex());
        threads_.wait(lock, [this] { return count_ == 0; });
    }

    // The caller wakes who was granted, and touches the core no more.
    void count_down(std::size_t by, Grants& granted) noexcept {
        const std::lock_guard lock(waiting_.mutex());
        CHAINRING_REQUIRE(by <= count_, "a Latch is counted down below zero");
        count_ -= by;
        if (count_ > 0) return;
        waiting_.grant_all(granted);
        threads_.notify_all();  // under the mutex: afterwards the latch may be gone
    }

    std::size_t count() const noexcept {
        const std::lock_guard lock(waiting_.mutex());
        return count_;
    }

    List& waiting() noexcept { return waiting_; }

private:
    List waiting_;
    Condition threads_;  // with the list's mutex
    std::size_t count_;  // guarded by it
};

}  // namespace detail
CHAINRING_END_NAMESPACE
