// SPDX-License-Identifier: BSL-1.0
// StealQueue: a worker's queue of runnable tasks, from which idle workers steal. A bounded ring of pointers to
// intrusive nodes; first in, first out; lock-free; no allocation. The design is that of the local run queues of Go's
// scheduler (runtime/proc.go, runqput and runqgrab) and of Tokio's (scheduler/multi_thread/queue.rs).
//
//   push       owner    appends at the tail; when the ring is full, half of it and the node go to the overflow queue
//   stage      owner    as push, but nobody else sees the node, nor does pop, before
//   publish    owner    shows what was staged: many for one store. At its limit, every Capacity nodes or so, stage
//                       publishes what was staged before, to see whether there is room
//   pop        owner    takes the oldest
//   steal      thief    takes the older half at once into its own StealQueue, of which it is the owner
//   size, empty  any thread, a snapshot
//
// head_ and tail_ count all nodes ever taken and ever published; index i lives in slot i mod Capacity; [head_, tail_)
// is in the queue. tail_ is written by the owner alone. head_ moves by compare-exchange only: whoever moves it from h
// to h + n owns the nodes h .. h+n-1, each of which is thus taken exactly once.
//
//   push                                        take (pop, steal, and the owner's overflow)
//   1 read head_ (acquire); room when           a read head_ = h (acquire)
//     tail - head_ < Capacity; an earlier       b read tail_ (acquire) = t; n out of t - h
//     look may do, since head_ only grows       c a thief copies the slots h .. h+n-1
//   2 write the slot, and those of more nodes   d compare-exchange head_ from h to h + n (release); on failure go to a
//   3 tail_ = beyond the last (release)         e the owner, who alone overwrites slots, reads them only now
//
// - b reads what 3 wrote: the slot, and what the node points to, are seen by the taker.
// - 1 reads what d wrote: a slot is overwritten after it was copied. Through other takers' d in between too: each is a
//   read-modify-write and prolongs the release sequence. This is why d is a release also for those who write nothing.
// - A thief may copy slots that are overwritten meanwhile, but only when head_ has moved on; then d fails and the
//   copies are forgotten. The slots are atomics for this reason alone, relaxed ones.
// - ABA: d could mistake a later h for the one that it read only if the index came round. An index is 64 bits wide and
//   never goes back: at a thousand million tasks a second it comes round in 584 years.
// - A thief reads head_ and tail_ at two moments, so that t - h may be more than the ring holds: then head_ has moved
//   on, d would fail, and the thief begins anew. It is never less than nothing: whoever wrote h had seen a tail_ of at
//   least h, and a acquires that.
//
// Store-load ordering: nothing here is seq_cst. A worker that pushes and then asks whether somebody sleeps has to ask
// by a read-modify-write on the word in which sleepers announce themselves by a read-modify-write before they look at
// empty() once more. Two read-modify-writes of one word are ordered: either the sleeper's announcement is seen, or the
// sleeper acquires the push. No fence does this (ThreadSanitizer does not see fences). tests/model checks it.
//
// Reclamation: the queue owns no node and frees none. A node belongs to whoever took it, and nobody looks into a node
// before that; only pointers are copied.
//
// False sharing: head_ is written by every taker, tail_ and the slots by the owner: three sets of cache lines.
//
// Written over an atomics policy, as Inbox is.
#pragma once

#include <chainring/config.hpp>
#include <chainring/trap.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <class Node, template <class> class Atomic = std::atomic, std::size_t Capacity = 256>
class StealQueue {
    static_assert(Capacity >= 2 && (Capacity & (Capacity - 1)) == 0, "the ring's size is a power of two");

public:
    static constexpr std::size_t capacity = Capacity;

    StealQueue() noexcept = default;
    StealQueue(const StealQueue&) = delete;
    StealQueue& operator=(const StealQueue&) = delete;

    // Owner. A full ring moves its older half, followed by the node, to `overflow.push_batch(first, last, count)`,
    // linked by `next`: the order stays, and the next Capacity / 2 pushes are cheap again.
    template <class Overflow>
    void push(Node& node, Overflow& overflow) noexcept {
        stage(node, overflow);
        publish();
    }

    // False: it went to the overflow queue, where anybody sees it.
    template <class Overflow>
    bool stage(Node& node, Overflow& overflow) noexcept {
        if (at_limit()) [[unlikely]]
            return stage_at_limit(node, overflow);
        put(end_++, &node);
        return true;
    }
    bool at_limit() const noexcept { return end_ == limit_; }                  // the next one may have no room
    void publish() noexcept { tail_.store(end_, std::memory_order_release); }  // 3: the slots and the nodes

    // Owner. The oldest node that was published; null when there is none.
    Node* pop() noexcept {
        const Index tail = tail_.load(std::memory_order_relaxed);  // own
        for (;;) {
            const Index head = head_.load(std::memory_order_relaxed);  // the slot is the owner's own writing
            if (head == tail) return nullptr;
            if (advance(head, 1)) return at(head);
        }
    }

    // The owner of *this, which is empty, as a thief. Takes half of what the victim has, rounded up: the oldest is
    // returned, to be run at once, and the others are queued here in their order. Null: the victim has nothing.
    Node* steal_from(StealQueue& victim) noexcept {
        // acquire, as in push: what is overwritten below has been copied by the thieves of this queue.
        CHAINRING_REQUIRE(head_.load(std::memory_order_acquire) == end_, "a worker steals when its own queue is empty");
        limit_ = end_ + Capacity;
        for (;;) {
            const Index head = victim.head_.load(std::memory_order_acquire);              // a
            const Index available = victim.tail_.load(std::memory_order_acquire) - head;  // b: pairs with 3
            if (available == 0) return nullptr;
            if (available > Capacity) continue;  // head is old
            const Index count = available - available / 2;
            Node* const oldest = victim.at(head);
            for (Index i = 1; i < count; ++i) put(end_ + i - 1, victim.at(head + i));
            if (!victim.advance(head, count)) continue;  // what was put is beyond the tail: nobody has seen it
            end_ += count - 1;
            if (count > 1) publish();  // for thieves of this queue
            return oldest;
        }
    }

    // Any thread. acquire: whoever sees a node here sees what was written before its push.
    std::size_t size() const noexcept {
        const Index head = head_.load(std::memory_order_acquire);
        const Index count = tail_.load(std::memory_order_acquire) - head;
        return count < Capacity ? static_cast<std::size_t>(count) : Capacity;  // more: head was old
    }
    bool empty() const noexcept { return size() == 0; }
    bool any_staged() const noexcept { return end_ != tail_.load(std::memory_order_relaxed); }  // owner

private:
    using Index = std::uint64_t;

    // Step 1, and what is done when there is no room.
    template <class Overflow>
    [[gnu::noinline]] bool stage_at_limit(Node& node, Overflow& overflow) noexcept {
        publish();
        for (;;) {
            const Index head = head_.load(std::memory_order_acquire);  // pairs with d: the slots have been copied
            limit_ = head + Capacity;
            if (end_ != limit_) {
                put(end_++, &node);
                return true;
            }
            if (!advance(head, Capacity / 2)) continue;  // a thief has made room
            limit_ += Capacity / 2;
            Node* const first = at(head);
            Node* last = first;
            for (Index i = head + 1; i != head + Capacity / 2; ++i) {
                Node* const next = at(i);
                last->next = next;
                last = next;
            }
            last->next = &node;
            node.next = nullptr;
            overflow.push_batch(*first, node, Capacity / 2 + 1);
            return false;
        }
    }

    // d. Release: the slots have been copied before they may be overwritten.
    bool advance(Index head, Index count) noexcept {
        return head_.compare_exchange_strong(head, head + count, std::memory_order_release, std::memory_order_relaxed);
    }
    Node* at(Index index) const noexcept { return slots_[index % Capacity].load(std::memory_order_relaxed); }
    void put(Index index, Node* node) noexcept { slots_[index % Capacity].store(node, std::memory_order_relaxed); }

    alignas(64) Atomic<Index> head_{0};                        // all: read; takers: compare-exchange
    alignas(64) Atomic<Index> tail_{0};                        // the owner writes, all read
    alignas(64) Index end_ = 0;                                // the owner's: tail_, and what is staged
    Index limit_ = Capacity;                                   // the owner's: slots before this are free
    alignas(64) std::array<Atomic<Node*>, Capacity> slots_{};  // the owner writes, takers read
};

}  // namespace detail
CHAINRING_END_NAMESPACE
