// SPDX-License-Identifier: BSL-1.0
// Strategy: answers every question that an execution asks: which thread goes on, which store a load reads, whether a
// weak exchange fails for no reason. An execution is a function of the answers, so a list of them replays it.
#pragma once

#include "tests/model/checker/clock.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace model::detail {

enum class Question : std::uint8_t {
    thread,    // an answer is the thread's number
    store,     // an answer is how many stores back from the newest one
    spurious,  // an answer is 0, or 1 for a failure
};

inline constexpr std::size_t max_options = 8;

class Strategy {
public:
    virtual ~Strategy() = default;
    // One of `options`, of which there are at least two and the first is the one that changes least.
    virtual unsigned choose(Question question, std::span<const std::uint8_t> options) = 0;
    virtual void yielded(unsigned /*thread*/) {}
    // True: the options are cut to what the bounds allow.
    virtual bool bounded() const { return false; }
};

// Depth-first through all answers, the newest question first.
class Exhaustive : public Strategy {
public:
    unsigned choose(Question question, std::span<const std::uint8_t> options) override;
    bool bounded() const override { return true; }
    bool next();  // the next execution; false when there is none

private:
    struct Node {
        std::array<std::uint8_t, max_options> options;
        std::uint8_t count;
        std::uint8_t taken;
    };
    std::vector<Node> path_;
    std::size_t depth_ = 0;
};

class RandomWalk : public Strategy {
public:
    explicit RandomWalk(std::uint64_t seed) : random_(seed) {}
    unsigned choose(Question question, std::span<const std::uint8_t> options) override;

protected:
    unsigned below(std::size_t limit) { return unsigned(random_() % limit); }
    std::mt19937_64 random_;
};

// Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte: "A randomized scheduler with
// probabilistic guarantees of finding bugs", ASPLOS 2010): random priorities, the highest runs, and at depth - 1 random
// moments the one that runs falls below all others. Finds a bug of that depth among n threads and k steps with a
// probability of at least 1 / (n * k^(depth-1)) in each execution.
class Pct : public RandomWalk {
public:
    Pct(std::uint64_t seed, unsigned depth, std::size_t steps);
    unsigned choose(Question question, std::span<const std::uint8_t> options) override;
    void yielded(unsigned thread) override { priority_[thread] = --lowest_; }

private:
    std::array<int, max_threads> priority_{};
    int lowest_ = 0;
    std::vector<std::size_t> changes_;
    std::size_t asked_ = 0;
};

// The answers of an earlier execution, as it printed them; after their end, the first option.
class Replay : public Strategy {
public:
    explicit Replay(std::string choices) : choices_(std::move(choices)) {}
    unsigned choose(Question question, std::span<const std::uint8_t> options) override;

private:
    std::string choices_;
    std::size_t asked_ = 0;
};

char choice_letter(unsigned choice) noexcept;

}  // namespace model::detail
