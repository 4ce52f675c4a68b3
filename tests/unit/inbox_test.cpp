// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/inbox.hpp"

#include "tests/unit/support.hpp"

#include <array>
#include <thread>
#include <vector>

using namespace chainring;

namespace {
struct Node {
    Node* next = nullptr;
    unsigned producer = 0;
    unsigned number = 0;
};
}  // namespace

TEST_CASE("an inbox hands over everything once, in order for each producer") {
    constexpr unsigned producers = 4;
    constexpr unsigned each = 20000;
    detail::Inbox<Node> inbox;
    std::vector<Node> nodes(producers * each);
    std::vector<std::thread> threads;
    for (unsigned producer = 0; producer < producers; ++producer)
        threads.emplace_back([&, producer] {
            for (unsigned number = 0; number < each; ++number) {
                Node& node = nodes[producer * each + number];
                node.producer = producer;
                node.number = number;
                inbox.push(node);
            }
        });
    std::array<unsigned, producers> expected{};
    unsigned taken = 0;
    bool ordered = true;
    while (taken < producers * each) {
        for (Node* node = inbox.take_all(); node; node = node->next) {
            ordered &= node->number == expected[node->producer]++;
            ++taken;
        }
    }
    for (auto& thread : threads) thread.join();
    CHECK(ordered);
    CHECK(inbox.empty());
}

TEST_CASE("push tells the one that found the inbox empty") {
    detail::Inbox<Node> inbox;
    Node first;
    Node second;
    CHECK(inbox.push(first));
    CHECK(!inbox.push(second));
    CHECK(inbox.take_all() == &first);
    CHECK(inbox.push(second));
}
