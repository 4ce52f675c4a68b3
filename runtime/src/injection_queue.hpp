// SPDX-License-Identifier: BSL-1.0
// InjectionQueue: the runtime's one queue of runnable tasks that belong to no worker: tasks from foreign threads, and
// what a StealQueue had no room for. Intrusive (linked by `next`), first in, first out, any number of threads on both
// sides; it allocates nothing and owns no node: a node is its pusher's until push returns, and then its taker's.
//
// A lock, and rightly: the way in is rare (a foreign thread has just made a whole task; a worker comes once for half a
// ring of pushes), every operation is one critical section of a few instructions without a system call in it, and a
// lock-free list with many consumers would need counted pointers against ABA and a way to reclaim, for a queue that is
// empty nearly always. What is frequent is the question whether there is anything: count_ is read without the lock.
//
// Parking. count_ changes by seq_cst read-modify-writes inside of the lock, after the list on the way in:
//
//   pusher                                       worker
//   1 the list, then count_ += n (seq_cst)       a announce: the park state = parked (seq_cst)
//   2 read the park state (seq_cst); wake        b empty(): read count_ (seq_cst); take instead of sleeping
//
// Either b sees 1 or 2 sees a. Whoever sees a count waits for the lock, and finds the list as long or a taker before
// it.
//
// Written over an atomics policy, as Inbox is; `Mutex` is SpinLock in production.
#pragma once

#include <chainring/config.hpp>

#include <atomic>
#include <cstddef>
#include <mutex>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <class Node, template <class> class Atomic = std::atomic, class Mutex = std::mutex>
class InjectionQueue {
public:
    InjectionQueue() noexcept = default;
    InjectionQueue(const InjectionQueue&) = delete;
    InjectionQueue& operator=(const InjectionQueue&) = delete;

    // Any thread, all of them.
    void push(Node& node) noexcept {
        node.next = nullptr;
        push_batch(node, node, 1);
    }

    // `count` nodes, linked by `next` from `first` to `last`, whose `next` is null.
    void push_batch(Node& first, Node& last, std::size_t count) noexcept {
        const std::lock_guard lock(mutex_);
        if (last_)
            last_->next = &first;
        else
            first_ = &first;
        last_ = &last;
        count_.fetch_add(count, std::memory_order_seq_cst);  // 1
    }

    // The oldest nodes, at most `most` of them (at least one is asked for), linked by `next`; null when there are none.
    Node* pop(std::size_t most) noexcept {
        // relaxed: a stale answer costs one pass; who is about to sleep asks empty().
        if (count_.load(std::memory_order_relaxed) == 0) return nullptr;
        const std::lock_guard lock(mutex_);
        Node* const oldest = first_;
        if (!oldest) return nullptr;
        Node* last = oldest;
        std::size_t taken = 1;
        for (; taken < most && last != last_; ++taken) last = last->next;
        first_ = last->next;
        if (!first_) last_ = nullptr;
        last->next = nullptr;
        count_.fetch_sub(taken, std::memory_order_seq_cst);
        return oldest;
    }

    std::size_t size() const noexcept { return count_.load(std::memory_order_relaxed); }  // a snapshot
    bool empty() const noexcept { return count_.load(std::memory_order_seq_cst) == 0; }   // b

private:
    // Read by idle workers all the time: not on the line of the mutex.
    alignas(64) Atomic<std::size_t> count_{0};
    alignas(64) Mutex mutex_;
    Node* first_ = nullptr;  // guarded by the mutex, as is last_
    Node* last_ = nullptr;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
