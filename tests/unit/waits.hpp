// SPDX-License-Identifier: BSL-1.0
// What the tests of the primitives of sync share: tasks that are cancelled before or while they wait, and seeded rounds
// of a race on two workers.
#pragma once

#include "tests/unit/support.hpp"

#include <random>

namespace support {

// How a wait has ended, if it has.
struct Ended {
    bool yes = false;
    std::error_code error;
};

// Runs fn(args...) in a scope that was cancelled before.
template <class Fn, class... Args>
Task<> cancelled_before(Fn fn, Args... args) {
    Scope scope;
    scope.cancel();
    scope.spawn(fn, args...);
    co_await scope.join();
}

// Runs fn(args...), and cancels it once it waits.
template <class Fn, class... Args>
Task<> cancelled_while_waiting(Fn fn, Args... args) {
    Scope scope;
    scope.spawn(fn, args...);
    co_await passes(2);
    scope.cancel();
    co_await scope.join();
}

inline Task<> yields(unsigned count) {
    for (; count > 0; --count) co_await yield();
}

inline Task<> cancel_after(unsigned pause, Scope* scope) {
    co_await yields(pause);
    scope->cancel();
}

// The choices of one round, all from its seed.
class Dice {
public:
    explicit Dice(unsigned seed) : random_(seed) {}
    unsigned below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
    bool one_in(unsigned count) { return below(count) == 0; }
    // Long, past, nothing, or about as long as it takes to be granted.
    Duration limit() {
        switch (below(4)) {
            case 0:
                return 1h;
            case 1:
                return -1s;
            case 2:
                return 0s;
            default:
                return std::chrono::microseconds(below(30));
        }
    }

private:
    std::mt19937 random_;
};

// Runs round(seed) for each seed, one after the other, in one runtime with two workers that look for work before they
// park, so that the sides of a race meet.
using Round = Task<> (*)(unsigned seed);
inline void in_rounds(Round round, unsigned count = 3000) {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    options.spin = 20us;
    in_runtime_with(
        options,
        [](Round play, unsigned seeds) -> Task<> {
            for (unsigned seed = 0; seed < seeds; ++seed) {
                CAPTURE(seed);
                co_await play(seed);
            }
        },
        round, count);
}

}  // namespace support
