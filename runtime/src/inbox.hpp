// SPDX-License-Identifier: BSL-1.0
// Inbox: an intrusive multi-producer queue whose one consumer takes everything at once (Treiber's stack with an
// exchange, reversed). Lock-free, no allocation, no ABA (the consumer never pops a single node), first in first out for
// each producer. It is the way into a worker for everything that comes from another thread.
//
// Written over an atomics policy: `Atomic` is std::atomic in production and an instrumented type in model tests.
#pragma once

#include <chainring/config.hpp>

#include <atomic>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <class Node, template <class> class Atomic = std::atomic>
class Inbox {
public:
    // Any thread. True when the inbox was empty: only then may the consumer be asleep without having seen more.
    bool push(Node& node) noexcept {
        Node* head = head_.load(std::memory_order_relaxed);
        do {
            node.next = head;
            // seq_cst: publishes the node (release) and, as a read-modify-write in the single total order, forms
            // Dekker's pattern with the consumer's parking: push, then read the park state; park, then read the head.
        } while (!head_.compare_exchange_weak(head, &node, std::memory_order_seq_cst, std::memory_order_relaxed));
        return head == nullptr;
    }

    // The consumer only. The nodes, oldest first, linked by `next`; null when there are none.
    Node* take_all() noexcept {
        if (head_.load(std::memory_order_relaxed) == nullptr) return nullptr;
        Node* newest = head_.exchange(nullptr, std::memory_order_acquire);  // acquire: pairs with push
        Node* oldest = nullptr;
        while (newest) {
            Node* next = newest->next;
            newest->next = oldest;
            oldest = newest;
            newest = next;
        }
        return oldest;
    }

    // seq_cst: the parking consumer's second half of Dekker's pattern.
    bool empty() const noexcept { return head_.load(std::memory_order_seq_cst) == nullptr; }

private:
    alignas(64) Atomic<Node*> head_{nullptr};
};

}  // namespace detail
CHAINRING_END_NAMESPACE
