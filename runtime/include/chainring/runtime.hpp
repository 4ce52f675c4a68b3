// SPDX-License-Identifier: BSL-1.0
// Runtime: workers (threads), each with its own ring or epoll instance, on which tasks run; and run(), which is all
// that most programs need.
//
// Life: run(fn, args...) makes worker 0 of the calling thread, starts the others, runs fn(args...) as the main task,
// and returns when the main task and everything in the root scope have ended, no operation is in flight and every
// worker's thread has been joined. A Runtime runs once. Two Runtimes in one process do not know each other.
//
// Stop has two phases. request_stop() (or SIGINT, SIGTERM), or the end of the main task, begins draining: listeners
// stop accepting, idle receives end with Errc::shutting_down, whatever has begun goes on. When options.stop_grace has
// passed, or at a second request, every task is cancelled: every await ends at once with Errc::cancelled. What had not
// stopped when the grace had passed, and what has not ended a second after the cancel, is logged with its await chains.
//
// Fork: a process that forks while a Runtime exists must exec or _exit in the child.
#pragma once

#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/scope.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iosfwd>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

class ManualClock;
class RuntimeState;
namespace detail::sim {
class Host;
}

enum class BackendKind : std::uint8_t {
    automatic,  // io_uring where it can be set up as chainring needs it, epoll elsewhere; CHAINRING_BACKEND decides if
                // set
    uring,
    epoll,
    sim,  // a simulated world of its own, with this one host: loopback, virtual time; for tests. With CHAINRING_SEED
          // set, one that misbehaves as the seed has it. <chainring/sim.hpp> has worlds of many hosts
};

// Whether a worker that has nothing to do takes runnable tasks from another one.
enum class Steal : std::uint8_t {
    never,       // each task stays where it was spawned or woken
    overloaded,  // parked workers are woken for it when a queue holds more work than a wake costs (some 50 us)
    eager,       // parked workers are woken for it as soon as a task has to wait behind another one
};

// What offload does when its queue is full.
enum class OffloadFull : std::uint8_t {
    suspend,  // waits its turn, however many do
    reject,   // ends with Errc::overloaded
};

// Trivially copyable, so that it may be written inside a co_await expression.
struct RuntimeOptions {
    // 0: as many as the CPUs that this process may use (affinity and cgroup quota). More than those take turns: one
    // with much to do yields the CPU (sched_yield) after a round of its Links, between 64 and 512 tasks, less often
    // where others keep it for long.
    unsigned workers = 0;
    BackendKind backend = BackendKind::automatic;
    Steal steal = Steal::overloaded;  // among several workers
    // How long at most an idle worker looks for work before it parks in the kernel. It backs off when that does not
    // pay: after each spin in vain it parks at once for twice as many times. 0, or a clock, or more workers than CPUs:
    // not at all. automatic_spin: as long as it takes to wake that worker of late, from 2 to 50 us (20 until it was
    // woken a few times), among several workers, which wake each other; none for one.
    static constexpr Duration automatic_spin{-1};
    Duration spin = automatic_spin;
    Duration stop_grace = std::chrono::seconds(10);  // draining ends after this, and what is left is cancelled
    unsigned recv_buffers = 256;                     // per worker; a power of two, at most 32768
    unsigned recv_buffer_size = 16384;               // bytes
    unsigned ring_entries = 1024;                    // submission queue of each ring; a power of two
    unsigned offload_threads = 4;                    // at most; they are started when they are needed
    unsigned offload_queue = 256;                    // calls that may wait for a thread, with OffloadFull::reject
    OffloadFull offload_full = OffloadFull::suspend;
    bool handle_signals = false;  // SIGINT and SIGTERM request stop; the old handlers come back after run
    void (*log)(std::string_view line) = nullptr;  // one line without newline; any worker, and dump_signal's thread
    ManualClock* clock = nullptr;                  // for tests; it must outlive the runtime
    // An exception of a task in the root scope (other than the main task's, which run() rethrows), on that task's
    // worker, with the awaits that it came through, a line each. Null: it is written to stderr, and std::terminate.
    void (*unhandled_exception)(const std::exception_ptr& exception, std::string_view await_chain) = nullptr;
    int dump_signal = 0;  // a signal, such as SIGUSR1, upon which dump_tasks() goes to `log`, line by line; 0: none
};

// Counters of one worker since its start. Read from any thread, each exact, not all of the same instant.
struct WorkerMetrics {
    std::uint64_t passes = 0;        // rounds of the loop
    std::uint64_t resumed = 0;       // tasks resumed
    std::uint64_t completions = 0;   // operations' completions delivered by the backend
    std::uint64_t parks = 0;         // waits in the kernel that were allowed to block
    std::uint64_t wakes = 0;         // system calls made to wake this worker
    std::uint64_t inbox = 0;         // nodes taken from the inbox
    std::uint64_t starved = 0;       // receives that had to wait for a buffer
    std::uint64_t spilled = 0;       // receive buffers given back early by copying their bytes out
    std::uint64_t links = 0;         // Links that live here now
    std::uint64_t buffers_lent = 0;  // receive buffers out of the pool now: queued at Links or in users' Chunks
    std::uint64_t operations = 0;    // operations in flight now
    std::uint64_t steals = 0;        // batches of tasks taken from other workers
    std::uint64_t injected = 0;      // tasks taken from the injection queue
};

class Runtime {
public:
    // Chooses and sets up the backend. Throws std::system_error or std::invalid_argument, saying what to change, when
    // the options cannot be met.
    explicit Runtime(RuntimeOptions options = {});
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;
    ~Runtime();

    // Runs fn(args...), a Task<>, as the main task; see above. Rethrows what it threw, after cancelling the rest.
    template <class Fn, class... Args>
    void run(Fn&& fn, Args&&... args) {
        Scope::check<Fn, Args...>();
        run_workers(detail::make_child(std::forward<Fn>(fn), std::forward<Args>(args)...));
    }

    // Begins draining; a second call cancels. Any thread, and async-signal-safe.
    void request_stop() noexcept;
    bool stop_requested() const noexcept;

    // The runtime whose worker the calling thread is; traps when it is none.
    static Runtime& current() noexcept;
    // The index of that worker.
    static unsigned current_worker() noexcept;

    // Writes what every task is doing: its name and worker, what it waits on and for how long, and its await chain, the
    // innermost first, in the order of the tree of scopes. Any thread, also a task. The workers pause meanwhile (about
    // 1 us for each task); one that does not reach its next task within a second is reported as stuck and left alone.
    // Must not overlap with the destruction of the Runtime. See docs/guide.md for an example.
    void dump_tasks(std::ostream& out);

    // Owns what should outlive the task that starts it. Its children are cancelled with everything else at stop.
    Scope& root() noexcept { return root_; }

    unsigned workers() const noexcept;
    std::string_view backend_name() const noexcept;  // "io_uring", "epoll" or "sim"
    WorkerMetrics metrics(unsigned worker) const noexcept;
    const RuntimeOptions& options() const noexcept;

private:
    friend class Scope;
    friend class ManualClock;
    friend class detail::Worker;
    friend class detail::sim::Host;
    Runtime(const RuntimeOptions& options, detail::sim::Host& host);
    void run_workers(detail::Child& main);
    void run_simulated(detail::Child& main);
    void launch_main(detail::Child& main);
    std::exception_ptr main_failure() const noexcept;

    std::unique_ptr<RuntimeState> state_;
    Scope root_;
};

// Gives the calling task a name for reports. `name` is kept as a pointer: a literal, or text that outlives the task.
// May throw std::bad_alloc.
void name_this_task(const char* name);

namespace detail {
void log_to_stderr(std::string_view line);
int report_main_error(const std::error_code& error) noexcept;  // one line on stderr; returns 1

template <class Fn, class... Args>
Task<> main_task(int& code, Fn fn, Args... args) {
    using Value = typename std::invoke_result_t<Fn, Args...>::value_type;
    auto task = std::invoke(std::move(fn), std::move(args)...);
    if constexpr (std::is_void_v<Value>) {
        co_await std::move(task);
    } else if constexpr (std::is_convertible_v<Value, int>) {
        code = co_await std::move(task);
    } else {
        auto result = co_await std::move(task);
        if (!result) code = report_main_error(result.error());
    }
}

int run_guarded(RuntimeOptions options, Task<> (*start)(int& code, void* call), void* call) noexcept;

template <class Fn, class... Args>
int run_with(RuntimeOptions options, Fn fn, Args... args) {
    auto call = [&](int& code) { return main_task<Fn, Args...>(code, std::move(fn), std::move(args)...); };
    using Call = decltype(call);
    return run_guarded(
        options, [](int& code, void* erased) { return (*static_cast<Call*>(erased))(code); }, &call);
}
}  // namespace detail

// Runs fn(args...) to its end in a Runtime of its own, for a main() that does nothing else. fn returns Task<>,
// Task<int> (the exit code) or Task<Result<T>>. SIGINT and SIGTERM stop it gracefully; log lines go to stderr. Returns
// the exit code: 0, the task's own, or 1 after one line on stderr when the task ended with an error or an exception or
// the runtime could not be set up.
template <class Fn, class... Args>
requires(!std::is_same_v<std::decay_t<Fn>, RuntimeOptions>) int run(Fn&& fn, Args&&... args) {
    RuntimeOptions options;
    options.handle_signals = true;
    options.log = detail::log_to_stderr;
    return detail::run_with<std::decay_t<Fn>, std::decay_t<Args>...>(options, std::forward<Fn>(fn),
                                                                     std::forward<Args>(args)...);
}

// The same with options, taken as they are: handle_signals and log are the caller's choice.
template <class Fn, class... Args>
int run(const RuntimeOptions& options, Fn&& fn, Args&&... args) {
    return detail::run_with<std::decay_t<Fn>, std::decay_t<Args>...>(options, std::forward<Fn>(fn),
                                                                     std::forward<Args>(args)...);
}

CHAINRING_END_NAMESPACE
