// SPDX-License-Identifier: BSL-1.0
// The threads of an Execution. Every visible operation begins with point(), where another thread may go on instead.
#include "tests/model/checker/execution.hpp"
#include "tests/model/checker/quarantine.hpp"

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <utility>

namespace model::detail {

namespace {
Execution* active_execution = nullptr;
}

Execution::Execution() : table_(std::size_t{1} << 14) {}
Execution::~Execution() = default;

bool Execution::active() noexcept {
    return active_execution != nullptr;
}

Execution& Execution::current() noexcept {
    if (!active_execution) {
        std::fprintf(stderr, "model: a model object is used outside of the body given to explore()\n");
        std::abort();
    }
    return *active_execution;
}

bool Execution::run(const std::function<void()>& body, Strategy& strategy, const Bounds& bounds, bool trace) {
    for (Thread& thread : threads_) thread.state = Thread::State::absent;
    for (const std::uint32_t slot : filled_) table_[slot] = 0;
    filled_.clear();
    used_ = 0;
    pointers_.clear();
    failure_.clear();
    choices_.clear();
    failed_ = cut_ = in_predicate_ = false;
    tracing_ = trace;
    left_ = bounds;
    steps_ = 0;
    strategy_ = &strategy;

    active_execution = this;
    self_ = 0;
    threads_[0].clock = Clock{};
    threads_[0].clock.at[0] = 1;
    threads_[0].yields_to = 0;
    threads_[0].body = std::ref(body);
    threads_[0].state = Thread::State::runnable;
    if (!threads_[0].fiber) threads_[0].fiber = std::make_unique<Fiber>(thread_main);
    keep_freed(true);
    Fiber::change(explorer_, *threads_[0].fiber);
    keep_freed(false);
    active_execution = nullptr;
    // The stacks of a failed execution are given up, with all that is on them: production code is noexcept and cannot
    // be unwound. They stay reachable, so that they are not counted as leaks.
    if (failed_) {
        static std::vector<std::unique_ptr<Fiber>>* const abandoned = new std::vector<std::unique_ptr<Fiber>>;
        for (Thread& thread : threads_)
            if (thread.fiber) abandoned->push_back(std::move(thread.fiber));
    }
    return !failed_;
}

void Execution::thread_main() {
    for (;;) {
        Execution& execution = *active_execution;
        const unsigned self = execution.self_;
        Thread& thread = execution.threads_[self];
        try {
            thread.body();
        } catch (const std::exception& error) {
            execution.fail(std::string("an exception left a thread: ") + error.what());
        } catch (...) {
            execution.fail("an exception left a thread");
        }
        thread.body = nullptr;
        execution.tick();
        thread.state = Thread::State::finished;
        execution.leave_turn(self);
        execution.note("ends", Where{});
        bool all = true;
        for (const Thread& other : execution.threads_)
            all &= other.state == Thread::State::absent || other.state == Thread::State::finished;
        if (all) {
            Fiber::change(*thread.fiber, execution.explorer_);
        } else {
            const unsigned next = execution.pick(false);
            execution.self_ = next;
            Fiber::change(*thread.fiber, *execution.threads_[next].fiber);
        }
    }
}

void Execution::fail(const std::string& what) {
    failed_ = true;
    failure_ = what;
    if (tracing_) std::printf("        %s\n", what.c_str());
    Fiber::change(*threads_[self_].fiber, explorer_);
    std::abort();  // never resumed
}

// ---- who goes on

void Execution::leave_turn(unsigned thread) noexcept {
    for (Thread& other : threads_) other.yields_to = std::uint8_t(other.yields_to & ~(1U << thread));
}

bool Execution::holds(bool (*ready)(void*), void* subject) {
    in_predicate_ = true;
    const bool held = ready(subject);
    in_predicate_ = false;
    return held;
}

unsigned Execution::enabled_mask() {
    unsigned mask = 0;
    for (unsigned i = 0; i < max_threads; ++i) {
        const Thread& thread = threads_[i];
        if (thread.state == Thread::State::runnable ||
            (thread.state == Thread::State::blocked && holds(thread.ready, thread.subject)))
            mask |= 1U << i;
    }
    return mask;
}

unsigned Execution::ask(Question question, std::span<const std::uint8_t> all, std::size_t allowed) {
    if (all.size() < 2) return all[0];
    if (!strategy_->bounded()) allowed = all.size();
    if (allowed < all.size()) cut_ = true;
    const unsigned choice = allowed < 2 ? all[0] : strategy_->choose(question, all.first(allowed));
    choices_.push_back(choice_letter(choice));
    return choice;
}

// The next thread. Going on with the same one is free, as is changing where it cannot go on.
unsigned Execution::pick(bool self_may_stay) {
    const unsigned ready = enabled_mask();
    unsigned mask = ready;
    for (unsigned i = 0; i < max_threads; ++i) {
        threads_[i].yields_to = std::uint8_t(threads_[i].yields_to & ready);  // one that blocks has had its turn
        if (threads_[i].yields_to) mask &= ~(1U << i);
    }
    if (mask == 0) mask = ready;
    if (mask == 0) {
        std::string who;
        for (unsigned i = 0; i < max_threads; ++i) {
            const Thread& thread = threads_[i];
            if (thread.state != Thread::State::blocked) continue;
            who += "\n          thread " + std::to_string(i) + " waits: " + thread.reason + " (" + place(thread.where) +
                   ")";
        }
        fail("deadlock or lost wake-up: every thread waits" + who);
    }
    self_may_stay = self_may_stay && (mask >> self_ & 1U);
    std::array<std::uint8_t, max_threads> options{};
    std::size_t count = 0;
    if (self_may_stay) options[count++] = std::uint8_t(self_);
    for (unsigned i = 1; i <= max_threads; ++i) {  // in turn, from the next one on
        const unsigned thread = (self_ + i) % max_threads;
        if (self_may_stay && thread == self_) continue;
        if (mask >> thread & 1U) options[count++] = std::uint8_t(thread);
    }
    const bool free = !self_may_stay || left_.preemptions > 0;
    const unsigned next = ask(Question::thread, std::span(options).first(count), free ? count : 1);
    if (self_may_stay && next != self_ && left_.preemptions > 0) --left_.preemptions;
    return next;
}

void Execution::change_to(unsigned next) {
    if (next == self_) return;
    Fiber& from = *threads_[self_].fiber;
    self_ = next;
    Fiber::change(from, *threads_[next].fiber);
}

void Execution::event() {
    point();
}

void Execution::step() {
    leave_turn(self_);
    threads_[self_].yields_to = 0;
    if (++steps_ > left_.steps)
        fail("livelock: more steps than options.steps; does a loop spin without model::yield()?");
}

void Execution::point() {
    if (in_predicate_) return;
    change_to(pick(true));
    step();
}

void Execution::yield(const Where& where) {
    note("yields", where);
    strategy_->yielded(self_);
    threads_[self_].yields_to = std::uint8_t(enabled_mask() & ~(1U << self_));
    change_to(pick(false));
    step();
}

void Execution::wait(bool (*ready)(void*), void* subject, const char* reason, const Where& where) {
    Thread& thread = threads_[self_];
    thread.state = Thread::State::blocked;
    thread.ready = ready;
    thread.subject = subject;
    thread.reason = reason;
    thread.where = where;
    const bool stay = holds(ready, subject);
    if (tracing_ && !stay) note((std::string("waits: ") + reason).c_str(), where);
    change_to(pick(stay));
    thread.state = Thread::State::runnable;
    step();
}

// ---- spawn and join

unsigned Execution::spawn(std::function<void()> body, const Where& where) {
    point();
    for (unsigned i = 1; i < max_threads; ++i) {
        Thread& thread = threads_[i];
        if (thread.state != Thread::State::absent) continue;
        tick();
        thread.clock = view();
        thread.clock.at[i] = 1;
        thread.yields_to = 0;
        thread.body = std::move(body);
        thread.state = Thread::State::runnable;
        if (!thread.fiber) thread.fiber = std::make_unique<Fiber>(thread_main);
        if (tracing_) note(("spawns thread " + std::to_string(i)).c_str(), where);
        return i;
    }
    fail("more threads than max_threads");
}

void Execution::join(unsigned thread, const Where& where) {
    struct Join {
        const Thread* thread;
    } target{&threads_[thread]};
    wait([](void* subject) { return static_cast<Join*>(subject)->thread->state == Thread::State::finished; }, &target,
         "for a thread to end", where);
    view().join(threads_[thread].clock);
    tick();
}

}  // namespace model::detail
