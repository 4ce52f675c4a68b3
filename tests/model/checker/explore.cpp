// SPDX-License-Identifier: BSL-1.0
#include "tests/model/checker/explore.hpp"

#include "tests/model/checker/quarantine.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <doctest/doctest.h>
#include <memory>
#include <unistd.h>

#ifdef MODEL_ASAN
#include <sanitizer/lsan_interface.h>
#endif

namespace model {

namespace {

using detail::Execution;

Execution& execution() {
    static Execution* const only = new Execution;  // its stacks are reused from test to test
    return *only;
}

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

const char* test_name() {
    return doctest::getContextOptions()->currentTest->m_name;
}

// A trap of the code under test, or a crash: tells how to get there again, then dies as it would have.
volatile std::uint64_t executions_so_far = 0;
void died(int signal) {
    if (Execution::active()) {
        const std::string& choices = execution().choices();
        std::fflush(stdout);
        char line[160];
        const int size = std::snprintf(line, sizeof line,
                                       "model: %.80s: FAILED after %llu executions: signal %d; replay=", test_name(),
                                       static_cast<unsigned long long>(executions_so_far), signal);
        (void)!write(STDOUT_FILENO, line, std::size_t(size));
        (void)!write(STDOUT_FILENO, choices.data(), choices.size());
        (void)!write(STDOUT_FILENO, "\n", 1);
    }
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

class SignalGuard {
public:
    SignalGuard() noexcept {
        for (std::size_t i = 0; i < count; ++i) before_[i] = std::signal(signals[i], died);
    }
    SignalGuard(const SignalGuard&) = delete;
    SignalGuard& operator=(const SignalGuard&) = delete;
    ~SignalGuard() {
        for (std::size_t i = 0; i < count; ++i) std::signal(signals[i], before_[i]);
    }

private:
#ifdef MODEL_SANITIZED
    static constexpr std::size_t count = 1;  // the sanitizer explains the others better
#else
    static constexpr std::size_t count = 3;
#endif
    static constexpr int signals[] = {SIGABRT, SIGSEGV, SIGBUS};
    void (*before_[count])(int) = {};
};

struct Exploration {
    const Options& options;
    const std::function<void()>& body;
    Outcome outcome;
    std::uint64_t exhaustive = 0;  // executions within the widest bound
    unsigned preemptions = 0;      // that bound
    bool complete = false;         // no bound has cut anything
    std::size_t questions = 0;     // the most in one execution

    Bounds bounds(unsigned preemption_bound) const {
        return {preemption_bound, options.stale_reads, options.spurious_failures, options.steps};
    }
    // True when the body held.
    bool one(detail::Strategy& strategy, const Bounds& within) {
        ++outcome.executions;
        executions_so_far = outcome.executions;
        const bool held = execution().run(body, strategy, within, false);
        questions = std::max(questions, execution().questions());
        if (held) return true;
        outcome.held = false;
        outcome.failure = execution().failure();
        outcome.choices = execution().choices();
        return false;
    }
    bool run_exhaustive();
    bool run_random();
};

// The bound on preemptions is raised step by step: a bug is shown by an execution with as few as can be.
bool Exploration::run_exhaustive() {
    unsigned widest = options.preemptions;
#ifdef MODEL_SANITIZED
    widest = std::min(widest, 1U);  // executions are ten times as slow, and what they show is the same
#endif
    for (preemptions = 0;; ++preemptions) {
        detail::Exhaustive strategy;
        bool cut = false;
        exhaustive = 0;
        do {
            if (++exhaustive > options.most_executions) {
                outcome.held = false;
                outcome.failure = "no end of the exhaustive part after options.most_executions: lower the bounds";
                return false;
            }
            if (!one(strategy, bounds(preemptions))) return false;
            cut |= execution().cut();
        } while (strategy.next());
        complete = !cut;
        if (complete || preemptions == widest) return true;
    }
}

bool Exploration::run_random() {
    const std::uint64_t effort = number_from("CHAINRING_MODEL_EFFORT", 1);
    const std::uint64_t seed = number_from("CHAINRING_MODEL_SEED", options.seed) << 32;
    const Bounds unbounded = bounds(0);
    for (std::uint64_t i = 0; i < options.pct * effort; ++i) {
        detail::Pct strategy(seed + i, options.pct_depth, questions);
        if (!one(strategy, unbounded)) return false;
    }
    for (std::uint64_t i = 0; i < options.walks * effort; ++i) {
        detail::RandomWalk strategy(seed + i);
        if (!one(strategy, unbounded)) return false;
    }
    return true;
}

Exploration run(const Options& options, const std::function<void()>& body) {
    Exploration exploration{options, body, {}};
    const SignalGuard guard;
    if (const char* choices = std::getenv("CHAINRING_MODEL_REPLAY")) {
        detail::Replay strategy{choices};
        exploration.outcome.executions = 1;
        exploration.outcome.held = execution().run(body, strategy, exploration.bounds(0), true);
        exploration.outcome.failure = execution().failure();
        exploration.outcome.choices = execution().choices();
        return exploration;
    }
    if (exploration.run_exhaustive() && !exploration.complete) exploration.run_random();
    return exploration;
}

}  // namespace

// What a failed execution leaves on its stacks is no leak.
Outcome explore(const Options& options, const std::function<void()>& body) {
#ifdef MODEL_ASAN
    const __lsan::ScopedDisabler disabler;
#endif
    return run(options, body).outcome;
}

bool holds(const Options& options, const std::function<void()>& body) {
    const Exploration exploration = run(options, body);
    const Outcome& outcome = exploration.outcome;
    const auto executions = static_cast<unsigned long long>(outcome.executions);
    if (outcome.held) {
        if (exploration.complete)
            std::printf("model: %s: holds in %llu executions, which are all\n", test_name(), executions);
        else
            std::printf("model: %s: holds in %llu executions, of them %llu all within %u preemptions\n", test_name(),
                        executions, static_cast<unsigned long long>(exploration.exhaustive), exploration.preemptions);
        return true;
    }
    std::printf("model: %s: FAILED after %llu executions: %s\n", test_name(), executions, outcome.failure.c_str());
    std::printf("  CHAINRING_MODEL_REPLAY=%s\n", outcome.choices.c_str());
    if (!std::getenv("CHAINRING_MODEL_REPLAY") && !outcome.choices.empty()) {
        detail::Replay strategy{outcome.choices};
        const SignalGuard guard;
        execution().run(body, strategy, exploration.bounds(0), true);
    }
    std::fflush(stdout);
    return false;
}

bool fails(const Options& options, const std::string& what, const std::function<void()>& body) {
    const Outcome outcome = explore(options, body);
    std::printf("model: %s: %s after %llu executions: %s\n", test_name(), outcome.held ? "no fault" : "a fault",
                static_cast<unsigned long long>(outcome.executions), outcome.failure.c_str());
    return !outcome.held && outcome.failure.find(what) != std::string::npos;
}

}  // namespace model
