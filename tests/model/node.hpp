// SPDX-License-Identifier: BSL-1.0
// What the model tests put into queues: an intrusive node that is watched, and counts of who got it.
#pragma once

#include "tests/model/checker/explore.hpp"

#include <array>

namespace model {

struct Node {
    Data<Node*> next;
    Data<unsigned> producer;
    Data<unsigned> number;

    Node() = default;
    Node(unsigned from, unsigned nth) : producer(from), number(nth) {}
};

// Every node of `total` is taken exactly once. Written by any thread of the model: one runs at a time.
template <unsigned Total>
class Tally {
public:
    void take(const Node& node) {
        const unsigned number = node.number;
        check(number < Total, "a node that was never pushed is taken");
        check(taken_[number]++ == 0, "a node is taken twice");
        ++count_;
    }
    // A list linked by `next`.
    void take_all(const Node* node) {
        for (; node; node = node->next) take(*node);
    }
    unsigned count() const { return count_; }
    bool complete() const { return count_ == Total; }

private:
    std::array<unsigned, Total> taken_{};
    unsigned count_ = 0;
};

}  // namespace model
