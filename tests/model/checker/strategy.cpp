// SPDX-License-Identifier: BSL-1.0
#include "tests/model/checker/strategy.hpp"

#include <algorithm>
#include <numeric>

namespace model::detail {

char choice_letter(unsigned choice) noexcept {
    return char('0' + choice);  // there are at most max_options
}

unsigned Exhaustive::choose(Question, std::span<const std::uint8_t> options) {
    if (depth_ == path_.size()) {
        Node node{};
        std::copy(options.begin(), options.end(), node.options.begin());
        node.count = std::uint8_t(options.size());
        path_.push_back(node);
    }
    const Node& node = path_[depth_++];
    return node.options[node.taken];
}

bool Exhaustive::next() {
    depth_ = 0;
    while (!path_.empty() && path_.back().taken + 1 == path_.back().count) path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().taken;
    return true;
}

// Half of the time what changes least: else every thread would be interrupted at every step.
unsigned RandomWalk::choose(Question question, std::span<const std::uint8_t> options) {
    if (question == Question::spurious) return below(8) == 0;
    if (below(2) == 0) return options[0];
    return options[below(options.size())];
}

Pct::Pct(std::uint64_t seed, unsigned depth, std::size_t steps) : RandomWalk(seed) {
    std::iota(priority_.begin(), priority_.end(), int(max_threads));
    std::shuffle(priority_.begin(), priority_.end(), random_);
    for (unsigned i = 1; i < depth; ++i) changes_.push_back(below(std::max<std::size_t>(steps, 1)));
}

unsigned Pct::choose(Question question, std::span<const std::uint8_t> options) {
    if (question != Question::thread) return RandomWalk::choose(question, options);
    const auto highest = [&] {
        return *std::max_element(options.begin(), options.end(),
                                 [&](unsigned a, unsigned b) { return priority_[a] < priority_[b]; });
    };
    for (const std::size_t change : changes_)
        if (change == asked_) priority_[highest()] = --lowest_;
    ++asked_;
    return highest();
}

unsigned Replay::choose(Question, std::span<const std::uint8_t> options) {
    if (asked_ == choices_.size()) return options[0];
    const unsigned wanted = unsigned(choices_[asked_++] - '0');
    const bool possible = std::find(options.begin(), options.end(), wanted) != options.end();
    return possible ? wanted : options[0];  // the code has changed since; the trace will tell
}

}  // namespace model::detail
