// SPDX-License-Identifier: BSL-1.0
// StealQueue and InjectionQueue: each node is taken exactly once, and its taker sees what its pusher wrote.
#include "runtime/src/steal_queue.hpp"

#include "runtime/src/injection_queue.hpp"
#include "tests/model/node.hpp"

#include <deque>
#include <doctest/doctest.h>
#include <memory>
#include <type_traits>
#include <vector>

namespace {

using model::Node;
template <std::size_t Capacity>
using Queue = chainring::detail::StealQueue<Node, model::Atomic, Capacity>;
using Injection = chainring::detail::InjectionQueue<Node, model::Atomic, model::Mutex>;

// Nodes numbered from 0.
template <unsigned Total>
struct Nodes {
    std::deque<Node> nodes;
    model::Tally<Total> tally;

    Nodes() {
        for (unsigned i = 0; i < Total; ++i) nodes.emplace_back(0U, i);
    }
    Node& operator[](unsigned i) { return nodes[i]; }
};

template <std::size_t Capacity, unsigned Total>
void pop_all(Queue<Capacity>& queue, model::Tally<Total>& tally) {
    while (const Node* node = queue.pop()) tally.take(*node);
}

template <std::size_t Capacity, unsigned Total>
void steal_and_pop_all(Queue<Capacity>& own, Queue<Capacity>& victim, model::Tally<Total>& tally) {
    if (const Node* node = own.steal_from(victim)) tally.take(*node);
    pop_all(own, tally);
}

// A slot that knows when its value was copied. The checker's loads never read what is stored later, so that an order
// which forbids just this has to be looked at: a slot may be overwritten only after a copy of its value, by the one who
// took it, has happened.
template <class T>
class Slot {
public:
    Slot(T value = T()) : value_(value) {}
    T load(std::memory_order order) const {
        const T value = value_.load(order);
        copies_.push_back(model::moment());
        return value;
    }
    void store(T value, std::memory_order order) {
        bool copied = copies_.empty();  // nobody has had it
        for (const model::Moment copy : copies_) copied |= model::happened_before(copy);
        model::check(copied, "a slot is overwritten after it was copied");
        copies_.clear();
        value_.store(value, order);
    }

private:
    model::Atomic<T> value_;
    mutable std::vector<model::Moment> copies_;
};
template <class T>
using WatchedSlots = std::conditional_t<std::is_pointer_v<T>, Slot<T>, model::Atomic<T>>;

// For queues that are not filled to the brim.
struct NoOverflow {
    void push_batch(Node&, Node&, std::size_t) { model::check(false, "the queue is never full"); }
};

}  // namespace

TEST_CASE("the last node goes to its owner or to one of two thieves, once") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Nodes<1> nodes;
        Queue<2> queue, mine, yours;
        NoOverflow none;
        {
            auto one = model::spawn([&] { steal_and_pop_all(mine, queue, nodes.tally); });
            auto two = model::spawn([&] { steal_and_pop_all(yours, queue, nodes.tally); });
            queue.push(nodes[0], none);
            pop_all(queue, nodes.tally);
        }
        model::check(nodes.tally.complete(), "nothing is lost");
    }));
}

TEST_CASE("an owner that pushes around the wrap of the ring and two thieves take each node once") {
    CHECK(model::holds({}, [] {
        Nodes<5> nodes;
        Queue<2> queue, mine, yours;
        Injection injection;
        {
            auto one = model::spawn([&] { steal_and_pop_all(mine, queue, nodes.tally); });
            auto two = model::spawn([&] { steal_and_pop_all(yours, queue, nodes.tally); });
            for (unsigned i = 0; i < 5; ++i) {
                queue.push(nodes[i], injection);
                if (i == 1)
                    if (const Node* node = queue.pop()) nodes.tally.take(*node);
            }
            pop_all(queue, nodes.tally);
        }
        nodes.tally.take_all(injection.pop(5));
        model::check(nodes.tally.complete(), "nothing is lost");
    }));
}

TEST_CASE("an owner overwrites a slot only after the thief that took its node has copied it") {
    CHECK(model::holds({.preemptions = 3}, [] {
        using Watched = chainring::detail::StealQueue<Node, WatchedSlots, 2>;
        Nodes<4> nodes;
        Watched queue, mine;
        NoOverflow none;
        queue.push(nodes[0], none);
        queue.push(nodes[1], none);
        model::Atomic<unsigned> taken{0};
        {
            auto thief = model::spawn([&] {
                for (unsigned i = 0; i < 2; ++i) {
                    if (const Node* node = mine.steal_from(queue)) nodes.tally.take(*node);
                    taken.fetch_add(1, std::memory_order_relaxed);  // tells that there is room, and orders nothing
                }
            });
            for (unsigned i = 0; i < 2; ++i) {
                while (taken.load(std::memory_order_relaxed) == i) model::yield();
                queue.push(nodes[2 + i], none);
            }
        }
        while (const Node* node = queue.pop()) nodes.tally.take(*node);
        model::check(nodes.tally.complete(), "nothing is lost");
    }));
}

TEST_CASE("thieves take half in one batch, which others steal from them in turn") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Nodes<4> nodes;
        Queue<4> queue, mine, yours;
        NoOverflow none;
        for (unsigned i = 0; i < 4; ++i) queue.push(nodes[i], none);
        {
            auto one = model::spawn([&] { steal_and_pop_all(mine, queue, nodes.tally); });
            auto two = model::spawn([&] {
                steal_and_pop_all(yours, mine, nodes.tally);
                steal_and_pop_all(yours, queue, nodes.tally);
            });
            if (const Node* node = queue.pop()) nodes.tally.take(*node);
        }
        pop_all(queue, nodes.tally);
        model::check(nodes.tally.complete(), "nothing is lost");
    }));
}

TEST_CASE("a thief that queues a batch over its own wrap does not harm those who steal from it") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Nodes<6> nodes;
        Queue<4> queue, mine, yours;
        NoOverflow none;
        for (unsigned i = 0; i < 4; ++i) queue.push(nodes[i], none);
        mine.push(nodes[4], none);
        mine.push(nodes[5], none);
        {
            auto two = model::spawn([&] {
                steal_and_pop_all(yours, mine, nodes.tally);
                steal_and_pop_all(yours, mine, nodes.tally);
            });
            pop_all(mine, nodes.tally);
            steal_and_pop_all(mine, queue, nodes.tally);
            steal_and_pop_all(mine, queue, nodes.tally);
        }
        pop_all(queue, nodes.tally);
        model::check(nodes.tally.complete(), "nothing is lost");
    }));
}

TEST_CASE("a full queue moves its older half to the injection queue in order, whatever a thief takes") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Nodes<6> nodes;
        Queue<4> queue, mine;
        Injection injection;
        unsigned previous = 0;
        const auto in_order = [&](const Node* node) {
            for (; node; node = node->next) {
                model::check(node->number >= previous, "first in, first out");
                previous = node->number;
                nodes.tally.take(*node);
            }
        };
        for (unsigned i = 0; i < 4; ++i) queue.push(nodes[i], injection);
        {
            auto thief = model::spawn([&] { steal_and_pop_all(mine, queue, nodes.tally); });
            auto other = model::spawn([&] { in_order(injection.pop(2)); });
            queue.push(nodes[4], injection);
            queue.push(nodes[5], injection);
        }
        in_order(injection.pop(6));
        pop_all(queue, nodes.tally);
        model::check(nodes.tally.complete(), "nothing is lost");
    }));
}

TEST_CASE("first in, first out: owner and thief each take in the order of the pushes") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Nodes<4> nodes;
        Queue<4> queue, mine;
        NoOverflow none;
        auto thief = model::spawn([&] {
            unsigned last = 0;
            for (unsigned i = 0; i < 2; ++i) {
                const Node* node = mine.steal_from(queue);
                while (node) {
                    model::check(node->number >= last, "the thief's order");
                    last = node->number;
                    node = mine.pop();
                }
            }
        });
        unsigned last = 0;
        for (unsigned i = 0; i < 4; ++i) {
            queue.push(nodes[i], none);
            if (i % 2 == 0) continue;
            if (const Node* node = queue.pop()) {
                model::check(node->number >= last, "the owner's order");
                last = node->number;
            }
        }
    }));
}

TEST_CASE("what is staged is nobody's until it is published, and then taken once") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Nodes<4> nodes;
        Queue<4> queue, mine;
        NoOverflow none;
        unsigned published = 0;  // one thread of the model runs at a time
        const auto take = [&](const Node* node) {
            for (; node; node = mine.pop()) {
                model::check(node->number < published, "nobody sees what is staged");
                nodes.tally.take(*node);
            }
        };
        {
            auto thief = model::spawn([&] {
                take(mine.steal_from(queue));
                take(mine.steal_from(queue));
            });
            for (unsigned i = 0; i < 4; i += 2) {
                queue.stage(nodes[i], none);
                queue.stage(nodes[i + 1], none);
                published = i + 2;
                queue.publish();
            }
        }
        pop_all(queue, nodes.tally);
        model::check(nodes.tally.complete(), "nothing is lost");
    }));
}

TEST_CASE("a full ring shows what is staged before it moves its older half, whatever a thief takes") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Nodes<7> nodes;
        Queue<2> queue, mine;
        Injection injection;
        {
            auto thief = model::spawn([&] {
                steal_and_pop_all(mine, queue, nodes.tally);
                steal_and_pop_all(mine, queue, nodes.tally);
            });
            unsigned moved = 0;
            for (unsigned i = 0; i < 7; ++i) {
                if (!queue.stage(nodes[i], injection)) moved += 2;  // half of the ring, and it
                if (i % 3 == 2) queue.publish();
            }
            nodes.tally.take_all(injection.pop(moved));
            queue.publish();
            pop_all(queue, nodes.tally);
        }
        model::check(injection.empty(), "what was moved was told");
        model::check(nodes.tally.complete(), "nothing is lost");
    }));
}

TEST_CASE("a thief that pushes behind its loot keeps to its ring") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Nodes<11> nodes;
        Queue<4> queue, mine, yours;
        Injection injection;
        for (unsigned i = 0; i < 3; ++i) queue.push(nodes[i], injection);
        for (unsigned i = 7; i < 11; ++i) mine.push(nodes[i], injection);
        pop_all(mine, nodes.tally);
        {
            auto other = model::spawn([&] { steal_and_pop_all(yours, mine, nodes.tally); });
            if (const Node* node = mine.steal_from(queue)) nodes.tally.take(*node);
            for (unsigned i = 3; i < 7; ++i) mine.push(nodes[i], injection);
            pop_all(mine, nodes.tally);
        }
        nodes.tally.take_all(injection.pop(7));
        pop_all(queue, nodes.tally);
        model::check(nodes.tally.complete(), "nothing is lost");
    }));
}

// What steal_queue.hpp asks of those who park: both sides go through a read-modify-write of the sleepers' word.
TEST_CASE("a push is seen by a thief that announced its sleep, or its pusher sees the announcement") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Nodes<1> nodes;
        Queue<2> queue, mine;
        NoOverflow none;
        model::Atomic<unsigned> sleepers{0};
        model::Parker parker;
        auto thief = model::spawn([&] {
            while (!nodes.tally.complete()) {
                steal_and_pop_all(mine, queue, nodes.tally);
                if (nodes.tally.complete()) break;
                sleepers.fetch_or(1, std::memory_order_acq_rel);
                if (queue.empty()) parker.park("the thief sleeps");
                sleepers.fetch_and(0, std::memory_order_relaxed);
            }
        });
        queue.push(nodes[0], none);
        if (sleepers.fetch_or(0, std::memory_order_acq_rel) & 1) parker.wake();
    }));
}

TEST_CASE("an injection queue hands over batches once and in order, and a parked worker misses none") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Nodes<4> nodes;
        Injection injection;
        model::Atomic<unsigned> parked{0};
        model::Parker parker;
        const auto wake = [&] {
            if (parked.load(std::memory_order_seq_cst) && parked.exchange(0, std::memory_order_seq_cst)) parker.wake();
        };
        auto foreign = model::spawn([&] {
            injection.push(nodes[0]);
            wake();
        });
        auto worker = model::spawn([&] {
            nodes[1].next = &nodes[2];
            nodes[2].next = &nodes[3];
            injection.push_batch(nodes[1], nodes[3], 3);
            wake();
        });
        unsigned last = 1;
        while (!nodes.tally.complete()) {
            for (const Node* node = injection.pop(2); node; node = node->next) {
                nodes.tally.take(*node);
                if (node->number == 0) continue;
                model::check(node->number == last++, "a batch stays in order");
            }
            parked.exchange(1, std::memory_order_seq_cst);
            if (injection.empty() && !nodes.tally.complete()) parker.park("the idle worker sleeps");
            parked.store(0, std::memory_order_relaxed);
        }
    }));
}
