// SPDX-License-Identifier: BSL-1.0
// StealQueue and InjectionQueue on real threads; tests/model explores them.
#include "runtime/src/steal_queue.hpp"

#include "runtime/src/injection_queue.hpp"
#include "tests/unit/support.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

using namespace chainring;

namespace {
struct Node {
    Node* next = nullptr;
    unsigned number = 0;  // written by the pusher, read by the taker
};
}  // namespace

TEST_CASE("an owner and three thieves take each node once") {
    constexpr unsigned thieves = 3;
    constexpr unsigned total = 200000;
    std::vector<Node> nodes(total);
    std::vector<std::atomic<unsigned>> taken(total);
    std::array<detail::StealQueue<Node>, thieves + 1> queues;
    detail::InjectionQueue<Node> injection;
    std::atomic<unsigned> left{total};

    const auto take = [&](Node* node) {
        if (!node) return false;
        taken[node->number].fetch_add(1, std::memory_order_relaxed);
        left.fetch_sub(1, std::memory_order_relaxed);
        return true;
    };
    const auto look_around = [&](detail::StealQueue<Node>& own) {
        if (take(own.pop())) return;
        for (auto& victim : queues)
            if (&victim != &own && take(own.steal_from(victim))) return;
        for (Node* node = injection.pop(64); node;) {
            Node* next = node->next;
            take(node);
            node = next;
        }
    };
    std::vector<std::thread> threads;
    for (unsigned i = 1; i <= thieves; ++i)
        threads.emplace_back([&, i] {
            while (left.load(std::memory_order_relaxed) > 0) {
                look_around(queues[i]);
                std::this_thread::yield();
            }
        });
    for (unsigned i = 0; i < total; ++i) {
        nodes[i].number = i;
        if (i % 32 < 16)
            queues[0].stage(nodes[i], injection);  // shown by the next push, at the latest
        else
            queues[0].push(nodes[i], injection);
        if (i % 8 == 0) take(queues[0].pop());
    }
    queues[0].publish();
    while (left.load(std::memory_order_relaxed) > 0) look_around(queues[0]);
    for (auto& thread : threads) thread.join();
    unsigned wrong = 0;
    for (auto& count : taken) wrong += count.load(std::memory_order_relaxed) != 1;
    CHECK(wrong == 0);
    CHECK(injection.empty());
}

TEST_CASE("a full queue moves its older half and the new node to the overflow, in order") {
    constexpr unsigned capacity = detail::StealQueue<Node>::capacity;
    std::vector<Node> nodes(capacity + 1);
    detail::StealQueue<Node> queue;
    detail::InjectionQueue<Node> injection;
    for (unsigned i = 0; i <= capacity; ++i) {
        nodes[i].number = i;
        queue.push(nodes[i], injection);
    }
    CHECK(queue.size() == capacity / 2);
    CHECK(injection.size() == capacity / 2 + 1);
    std::vector<unsigned> moved;
    for (Node* node = injection.pop(capacity); node; node = node->next) moved.push_back(node->number);
    REQUIRE(moved.size() == capacity / 2 + 1);
    for (unsigned i = 0; i < capacity / 2; ++i) CHECK(moved[i] == i);
    CHECK(moved.back() == capacity);
    CHECK(queue.pop() == &nodes[capacity / 2]);
}

TEST_CASE("what is staged is its owner's secret until it is published") {
    std::array<Node, 3> nodes;
    detail::StealQueue<Node> queue;
    detail::InjectionQueue<Node> injection;
    queue.push(nodes[0], injection);
    CHECK_FALSE(queue.any_staged());
    CHECK(queue.stage(nodes[1], injection));
    CHECK(queue.stage(nodes[2], injection));
    CHECK(queue.any_staged());
    CHECK(queue.size() == 1);
    CHECK(queue.pop() == &nodes[0]);
    CHECK(queue.pop() == nullptr);
    queue.publish();
    CHECK_FALSE(queue.any_staged());
    CHECK(queue.pop() == &nodes[1]);
    CHECK(queue.pop() == &nodes[2]);
}
