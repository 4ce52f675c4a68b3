// SPDX-License-Identifier: BSL-1.0
// Inbox, and parking over it as Worker does: runtime/src/worker.cpp, post() and park().
#include "runtime/src/inbox.hpp"

#include "runtime/src/park_state.hpp"
#include "tests/model/node.hpp"

#include <array>
#include <doctest/doctest.h>
#include <memory>

namespace {

using Inbox = chainring::detail::Inbox<model::Node, model::Atomic>;
using ParkState = chainring::detail::ParkState<model::Atomic>;

// The parts of a worker that take part in parking.
struct Worker {
    Inbox inbox;
    ParkState park;
    model::Parker backend;
    unsigned announced = 0;

    void post(model::Node& node) {
        inbox.push(node);
        if (park.must_wake()) backend.wake();
    }
    // One pass of the loop: take, then park when there is nothing and the worker may not exit.
    template <class Take, class MayExit>
    void pass(Take take, MayExit may_exit) {
        for (model::Node* node = inbox.take_all(); node;) {
            model::Node* next = node->next;
            take(*node);
            node = next;
        }
        ++announced;
        park.announce();
        if (inbox.empty() && !may_exit()) backend.park("the worker sleeps");
        park.running();
    }
};

}  // namespace

TEST_CASE("an inbox hands over each node once and in the order of its producer, with two producers") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Inbox inbox;
        model::Node nodes[4] = {{0, 0}, {0, 1}, {1, 2}, {1, 3}};
        model::Tally<4> tally;
        std::array<unsigned, 2> last{0, 2};
        auto first = model::spawn([&] {
            inbox.push(nodes[0]);
            inbox.push(nodes[1]);
        });
        auto second = model::spawn([&] {
            inbox.push(nodes[2]);
            inbox.push(nodes[3]);
        });
        while (!tally.complete()) {
            for (model::Node* node = inbox.take_all(); node; node = node->next) {
                tally.take(*node);
                model::check(node->number >= last[node->producer], "a producer's nodes come in its order");
                last[node->producer] = node->number;
            }
            if (!tally.complete()) model::yield();
        }
        model::check(inbox.empty(), "nothing is left");
    }));
}

TEST_CASE("push tells exactly those that found the inbox empty") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Inbox inbox;
        model::Node nodes[3] = {{0, 0}, {1, 1}, {0, 2}};
        unsigned found_empty = 0;
        unsigned lists = 0;
        {
            auto first = model::spawn([&] {
                found_empty += inbox.push(nodes[0]);
                found_empty += inbox.push(nodes[2]);
            });
            auto second = model::spawn([&] { found_empty += inbox.push(nodes[1]); });
            lists += inbox.take_all() != nullptr;
        }
        lists += inbox.take_all() != nullptr;
        model::check(found_empty == lists, "one push found it empty for each list that was taken");
    }));
}

TEST_CASE("a worker that parks loses no wake-up, and is woken once at most for each announcement") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Worker worker;
        model::Node nodes[3] = {{0, 0}, {0, 1}, {1, 2}};
        model::Tally<3> tally;
        auto first = model::spawn([&] {
            worker.post(nodes[0]);
            worker.post(nodes[1]);
        });
        auto second = model::spawn([&] { worker.post(nodes[2]); });
        while (!tally.complete()) {
            worker.pass([&](const model::Node& node) { tally.take(node); }, [&] { return tally.complete(); });
            model::check(worker.backend.wakes() <= worker.announced, "no wake without an announcement");
        }
    }));
}

TEST_CASE("a worker that sleeps is woken by one system call however many push") {
    CHECK(model::holds({.preemptions = 3}, [] {
        Worker worker;
        model::Node nodes[3] = {{0, 0}, {1, 1}, {2, 2}};
        worker.park.announce();
        {
            auto first = model::spawn([&] { worker.post(nodes[0]); });
            auto second = model::spawn([&] { worker.post(nodes[1]); });
            auto third = model::spawn([&] { worker.post(nodes[2]); });
        }
        model::check(worker.backend.wakes() == 1, "one wake");
    }));
}
