// SPDX-License-Identifier: BSL-1.0
// RunQueue: the runnable tasks of one worker. Three places, from the narrowest to the widest:
//
//   next_    one task that the running one has just woken: it runs next, its data still in the cache
//   steal_   tasks that idle workers may take (StealQueue); what does not fit goes to the runtime's injection queue
//   own_     tasks that stay here: those with an affinity, and all of them when nobody steals; a plain list
//
// pop() serves steal_ and own_ in turn, each first in, first out; next_ goes ahead of them at most three times in a
// row, so that two tasks that wake each other keep nobody waiting. Thieves take from steal_, and from next_ when that
// is all.
//
// Owner thread, but for steal_from's victim, size() and has_stealable().
#pragma once

#include <chainring/config.hpp>
#include <chainring/spin_lock.hpp>
#include <chainring/task_context.hpp>

#include "runtime/src/injection_queue.hpp"
#include "runtime/src/steal_queue.hpp"

#include <atomic>
#include <cstddef>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

using Injection = InjectionQueue<InboxNode, std::atomic, SpinLock>;

class RunQueue {
public:
    // Where tasks overflow to; null: nobody steals here.
    explicit RunQueue(Injection* overflow) noexcept : overflow_(overflow) {}
    RunQueue(const RunQueue&) = delete;
    RunQueue& operator=(const RunQueue&) = delete;
    bool shared() const noexcept { return overflow_ != nullptr; }

    // `urgent`: woken by the task that is running.
    void push(TaskContext& task, bool urgent) noexcept {
        if (!overflow_ || task.affinity != 0) return push_own(task);
        RunNode& node = task;
        node.next = nullptr;
        if (urgent && !next_.load(std::memory_order_relaxed)) {
            next_.store(&node, std::memory_order_release);  // only the owner puts one in; pairs with a taker's exchange
        } else {
            steal_.push(node, *overflow_);
        }
    }

    // Between the running of tasks, where others steal: neither they nor pop() see it before publish(), except at the
    // limit, where all that is staged is shown, and this one may go to the runtime's queue.
    void stage(TaskContext& task) noexcept {
        RunNode& node = task;
        steal_.stage(node, *overflow_);
    }
    bool at_limit() const noexcept { return steal_.at_limit(); }
    void publish() noexcept { steal_.publish(); }

    // What stays here: all, where nobody steals.
    void push_own(TaskContext& task) noexcept {
        RunNode& node = task;
        node.next = nullptr;
        *own_end_ = &node;
        own_end_ = &node.next;
    }

    TaskContext* pop() noexcept { return overflow_ ? pop_where_shared() : pop_own(); }
    TaskContext* pop_where_shared() noexcept {
        if (!own_head_ && !next_.load(std::memory_order_relaxed)) [[likely]] {
            in_a_row_ = 0;
            return pop_shared();
        }
        return pop_in_turn();
    }
    TaskContext* pop_own() noexcept {
        InboxNode* node = own_head_;
        if (!node) return nullptr;
        own_head_ = node->next;
        if (!own_head_) own_end_ = &own_head_;
        return &TaskContext::of(*node);
    }

    bool empty() const noexcept {
        if (own_head_) return false;
        return !overflow_ || (!next_.load(std::memory_order_relaxed) && !steal_.any_staged() && steal_.empty());
    }

    // As a thief, with nothing of its own to steal: takes half of the victim's. The oldest is at the head of this queue
    // afterwards. False: there was nothing. `busy`: the victim is running a task, so that its next one has to wait. Of
    // a victim that is about to run it, it is left alone: thieves that take each other's loot would run nothing.
    bool steal_from(RunQueue& victim, bool busy) noexcept {
        InboxNode* node = steal_.steal_from(victim.steal_);
        if (!node && busy) node = victim.next_.exchange(nullptr, std::memory_order_acquire);
        if (!node) return false;
        next_.store(node, std::memory_order_release);
        return true;
    }

    // Any thread; snapshots.
    std::size_t size() const noexcept { return steal_.size(); }
    bool has_stealable() const noexcept { return !steal_.empty() || next_.load(std::memory_order_relaxed); }

private:
    static constexpr unsigned most_in_a_row = 3;

    static TaskContext* task_of(InboxNode* node) noexcept { return node ? &TaskContext::of(*node) : nullptr; }
    [[gnu::noinline]] TaskContext* pop_in_turn() noexcept {
        if (in_a_row_ < most_in_a_row) {
            if (TaskContext* task = take_next()) {
                ++in_a_row_;
                return task;
            }
        }
        in_a_row_ = 0;
        own_turn_ = !own_turn_;
        TaskContext* task = own_turn_ ? pop_own() : pop_shared();
        if (!task) task = own_turn_ ? pop_shared() : pop_own();
        return task ? task : take_next();
    }

    TaskContext* pop_shared() noexcept { return task_of(steal_.pop()); }
    TaskContext* take_next() noexcept {
        if (!next_.load(std::memory_order_relaxed)) return nullptr;
        return task_of(next_.exchange(nullptr, std::memory_order_acquire));  // a thief may have been faster
    }

    Injection* overflow_;
    InboxNode* own_head_ = nullptr;
    InboxNode** own_end_ = &own_head_;  // where the next one goes
    unsigned in_a_row_ = 0;
    bool own_turn_ = false;
    std::atomic<InboxNode*> next_{nullptr};  // the owner puts in, the owner and thieves take by exchange
    StealQueue<InboxNode> steal_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
