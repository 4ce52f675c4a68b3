// SPDX-License-Identifier: BSL-1.0
// explore(): runs a body under every schedule within bounds, then under random ones.
//
//     TEST_CASE("a mailbox hands over what was put in") {
//         CHECK(model::holds({}, [] {
//             Mailbox<model::Atomic> box;
//             auto sender = model::spawn([&] { box.put(7); });
//             if (box.full()) model::check(box.take() == 7, "what was put in comes out");
//         }));
//     }
//
// A body is deterministic but for what the checker decides, makes all model objects inside, and keeps objects that one
// thread destroys while another may still hold their address on the heap, where no address is used twice in an
// execution. On failure the execution is run again with a trace, and its list of choices is printed:
//
//     CHAINRING_MODEL_REPLAY=<list> build/release/tests/model/model_inbox --test-case='<name>'
//
// runs that execution alone. CHAINRING_MODEL_EFFORT=<n> multiplies the random executions, CHAINRING_MODEL_SEED=<n>
// moves their seeds.
#pragma once

#include "tests/model/checker/model.hpp"

#include <cstdint>
#include <functional>
#include <string>

namespace model {

struct Options {
    // The exhaustive part: every execution with at most so many preemptions (changes away from a thread that could go
    // on), loads that do not read the newest store, and weak exchanges that fail for no reason.
    unsigned preemptions = 2;
    unsigned stale_reads = 2;
    unsigned spurious_failures = 1;
    std::uint64_t most_executions = 2'000'000;  // more are a failure: the bounds are too wide for a test
    // The random part has no such bounds.
    std::uint64_t pct = 2000;
    unsigned pct_depth = 4;
    std::uint64_t walks = 2000;
    std::uint64_t seed = 1;
    unsigned steps = 2000;  // of one execution; more are a livelock
};

struct Outcome {
    bool held = true;
    std::string failure;  // what went wrong
    std::string choices;  // replays it
    std::uint64_t executions = 0;
};

// For bodies that may fail, too; prints nothing. holds() is for those that must not.
Outcome explore(const Options& options, const std::function<void()>& body);

// explore(), and one line on stdout with the figures; on failure the trace too.
bool holds(const Options& options, const std::function<void()>& body);

// For tests of the checker itself: true when a failure whose text contains `what` is found. Prints one line.
bool fails(const Options& options, const std::string& what, const std::function<void()>& body);

}  // namespace model
