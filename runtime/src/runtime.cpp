// SPDX-License-Identifier: BSL-1.0
#include <chainring/manual_clock.hpp>
#include <chainring/runtime.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/dump_signal.hpp"
#include "runtime/src/runtime_state.hpp"
#include "runtime/src/sim/host.hpp"
#include "runtime/src/sim/simulation.hpp"
#include "runtime/src/stop_signals.hpp"

#include <cerrno>
#include <cstdio>
#include <exception>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

Runtime::Runtime(RuntimeOptions options)
    : state_(std::make_unique<RuntimeState>(*this, options, nullptr)), root_(Scope::RootTag{}, *this) {}

Runtime::Runtime(const RuntimeOptions& options, detail::sim::Host& host)
    : state_(std::make_unique<RuntimeState>(*this, options, &host)), root_(Scope::RootTag{}, *this) {}

Runtime::~Runtime() {
    CHAINRING_REQUIRE(root_.size() == 0, "a Runtime is destroyed before what was spawned in its root scope has run");
}

void Runtime::run_workers(detail::Child& main) {
    CHAINRING_REQUIRE(!state_->ran, "a Runtime runs once");
    state_->ran = true;
    if (state_->host) {
        run_simulated(main);
        return;
    }
    detail::Worker& first = *state_->workers.front();
    std::vector<std::thread> threads;
    std::optional<detail::DumpSignal> dump;
    // Tasks that are in the root scope already begin with the first worker: until the main task is there, too, their
    // end is not the end of everything.
    root_.hold(true);
    try {
        dump.emplace(*state_, state_->options.dump_signal);
        first.attach();
        state_->start_others(threads);
    } catch (...) {
        state_->finish();
        for (std::thread& thread : threads) thread.join();
        root_.hold(false);
        main.discard();
        throw;
    }
    launch_main(main);
    root_.hold(false);
    if (state_->options.clock) state_->options.clock->attach(*this);
    {
        std::optional<detail::StopSignals> signals;
        if (state_->options.handle_signals) signals.emplace(*this);
        first.run();
    }
    dump.reset();
    state_->offload.stop();
    for (std::thread& thread : threads) thread.join();
    if (state_->options.clock) state_->options.clock->detach(*this);
    if (root_.first_) std::rethrow_exception(root_.first_);
}

std::exception_ptr Runtime::main_failure() const noexcept {
    return root_.first_;
}

void Runtime::launch_main(detail::Child& main) {
    main.is_main = true;
    state_->name_task(main, "main");
    root_.launch_on(main, 0);
}

void Runtime::run_simulated(detail::Child& main) {
    if (state_->options.clock) state_->options.clock->attach(*this);
    {
        std::optional<detail::StopSignals> signals;
        if (state_->options.handle_signals) signals.emplace(*this);
        state_->host->run_alone(*this, main);
    }
    if (state_->options.clock) state_->options.clock->detach(*this);
    if (root_.first_) std::rethrow_exception(root_.first_);
}

void Runtime::request_stop() noexcept {
    state_->stop_requests.fetch_add(1, std::memory_order_release);
    state_->workers.front()->force_wake();
}

bool Runtime::stop_requested() const noexcept {
    return state_->stop_requests.load(std::memory_order_acquire) > 0 ||
           state_->phase.load(std::memory_order_acquire) != RuntimeState::Phase::running;
}

Runtime& Runtime::current() noexcept {
    detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker, "this is only possible on a worker of a Runtime");
    return worker->runtime().runtime;
}

unsigned Runtime::current_worker() noexcept {
    detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker, "this is only possible on a worker of a Runtime");
    return worker->index();
}

unsigned Runtime::workers() const noexcept {
    return static_cast<unsigned>(state_->workers.size());
}
std::string_view Runtime::backend_name() const noexcept {
    return state_->backend_name;
}
const RuntimeOptions& Runtime::options() const noexcept {
    return state_->options;
}

void Runtime::dump_tasks(std::ostream& out) {
    out << state_->report_tasks(~std::size_t{0});
}

WorkerMetrics Runtime::metrics(unsigned worker) const noexcept {
    CHAINRING_REQUIRE(worker < state_->workers.size(), "metrics: there is no worker of that index");
    return state_->workers[worker]->metrics();
}

// ---- ManualClock

void ManualClock::advance(Duration duration) noexcept {
    now_.fetch_add(duration.count(), std::memory_order_acq_rel);
    const std::lock_guard lock(mutex_);
    for (Runtime* runtime : runtimes_)
        for (const auto& worker : runtime->state_->workers) worker->force_wake();
}

void ManualClock::attach(Runtime& runtime) {
    const std::lock_guard lock(mutex_);
    runtimes_.push_back(&runtime);
}

void ManualClock::detach(Runtime& runtime) noexcept {
    const std::lock_guard lock(mutex_);
    std::erase(runtimes_, &runtime);
}

// ---- run

namespace detail {

void log_to_stderr(std::string_view line) {
    std::string whole(line);
    whole += '\n';
    std::fwrite(whole.data(), 1, whole.size(), stderr);  // one call, so that lines of several workers do not mix
}

namespace {
int fail(const char* what) noexcept {
    std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    return 1;
}
}  // namespace

int report_main_error(const std::error_code& error) noexcept {
    return fail(error.message().c_str());
}

int run_guarded(RuntimeOptions options, Task<> (*start)(int& code, void* call), void* call) noexcept {
    int code = 0;
    try {
        Runtime runtime(options);
        runtime.run(start, std::ref(code), call);
    } catch (const std::exception& exception) {
        return fail(exception.what());
    } catch (...) {
        return fail("the main task ended with an exception that is no std::exception");
    }
    return code;
}

}  // namespace detail

CHAINRING_END_NAMESPACE
