// SPDX-License-Identifier: BSL-1.0
// A simulated world, in which an unchanged server and its clients run deterministically: one thread, virtual time that
// jumps when nothing is to be done, a schedule that is a seed, and a network that misbehaves on purpose. For tests.
//
//     sim::World world(seed);
//     sim::Host& server = world.add_host("server");
//     sim::Host& client = world.add_host("client");
//     server.start(serve_echo, "0.0.0.0:7000");           // your code: Listener, Link, Scope, sleeps, sync, offload
//     client.start(ask, server.address(7000));
//     world.run_until([&] { return !client.running(); });
//     server.stop();
//     world.run();
//
// Each host is a machine with addresses of its own (10.0.0.1 and fd00::1 for the first, 10.0.0.2 ... for the next; also
// 127.0.0.1, ::1 and unix addresses within), on which one process runs at a time: a Runtime with its workers, whose
// main task is the one given to start(). All that tasks do is done by the thread that calls run(), run_for() or
// run_until(); the same seed gives the same run, event by event, on every machine and with every compiler. In tasks
// chainring::now() is the virtual time and chainring::random() draws from the seed; what else a task depends on (the
// wall clock, other generators, the order of pointers) is the caller's affair.
//
// What cannot be simulated: descriptors of the real system and foreign threads. Calls that would need them end with
// Errc::not_supported.
//
// A world in which nothing can happen any more though tasks wait throws Stuck, whose text is what they wait for.
//
// Threads: a World and its hosts belong to one thread; other threads may have Worlds of their own. The sources of the
// idea: FoundationDB's simulation (Zhou et al., SIGMOD 2021) and TigerBeetle's VOPR.
#pragma once

#include <chainring/address.hpp>
#include <chainring/config.hpp>
#include <chainring/runtime.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {
class Host;
}

namespace sim {

class World;

// One direction of the way between two hosts.
struct Wire {
    Duration latency = std::chrono::microseconds(200);
    Duration jitter = std::chrono::microseconds(100);  // at most this much more, drawn for each segment
    std::uint64_t bandwidth = 0;                       // bytes a second; 0: no limit
};

// Nothing can happen any more, and tasks wait. what() tells for what.
class Stuck : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct WorldOptions {
    Wire wire;  // between all hosts, until World::wire says otherwise
    // What a kernel and a network may do at any time: short reads and writes, completions in any order and late, an
    // accept or receive that ends by itself, a pool of buffers that is empty for a moment. Off: they are kind.
    bool mischief = true;
    bool keep_trace = false;  // so that print_trace() has lines; also on when CHAINRING_TRACE is set
};

// What happened in a world.
struct Sums {
    std::uint64_t connections = 0;  // established
    std::uint64_t refused = 0;      // connects that were refused or timed out
    std::uint64_t resets = 0;       // connections that ended with a reset
    std::uint64_t segments = 0;     // delivered
    std::uint64_t bytes = 0;        // delivered
    std::uint64_t faults = 0;       // partitions, resets, pauses, kills ... that were asked for
    std::uint64_t waits = 0;        // how often a task began to wait
    std::uint64_t events = 0;       // in the trace
};

class Host {
public:
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    const std::string& name() const noexcept;
    Address address(std::uint16_t port) const;  // its IPv4 address
    Address address6(std::uint16_t port) const;

    // Starts a process with the main task fn(args...), a Task<>. When it ends, or is stopped, the process winds up as
    // Runtime::run does. Copies of fn and args are kept for restart(). Traps while one is running.
    template <class Fn, class... Args>
    void start(Fn fn, Args... args) {
        static_assert(std::is_invocable_v<Fn, Args...>,
                      "start takes a callable that returns a Task for these arguments");
        main_ = [fn = std::move(fn), ... args = std::move(args)]() -> Task<> { return main_task(fn, args...); };
        restart();
    }
    // The same main task in a new process. Traps while one is running.
    void restart();
    // As SIGTERM: begins the graceful stop; a second time cancels.
    void stop() noexcept;
    // As SIGKILL: the process is gone at once; its kernel closes its connections (FIN, or RST where bytes were unread).
    // Its objects are still destroyed properly: its tasks are cancelled and run to their end where nobody can see it.
    void kill() noexcept;
    // The machine loses power: silence. Peers learn of it when they send after it is back, or by their timeouts.
    void power_off() noexcept;
    void power_on() noexcept;
    // The process stands still (as with SIGSTOP, or a virtual machine that is moved); its kernel goes on.
    void pause() noexcept;
    void resume() noexcept;
    bool running() const noexcept;  // a process is there

    // Descriptors that its process may have (EMFILE beyond).
    void limit_descriptors(unsigned most) noexcept;
    // Offloaded calls take this long from now on; zero: some microseconds, drawn.
    void slow_offload(Duration duration) noexcept;

    // Traps unless running.
    Runtime& runtime() const;
    std::size_t links() const;        // of its runtime
    std::size_t descriptors() const;  // open in its process
    std::string dump() const;         // what its tasks do: Runtime::dump_tasks

private:
    friend class World;
    Host(World& world, std::string name, const RuntimeOptions& options);
    ~Host();
    template <class Fn, class... Args>
    static Task<> main_task(Fn fn, Args... args) {  // a copy for each process
        auto task = std::invoke(std::move(fn), std::move(args)...);
        co_await std::move(task);
    }
    struct State;
    std::unique_ptr<State> state_;
    std::function<Task<>()> main_;
};

// What befalls a task at one chosen wait; see World::strike.
enum class Strike : std::uint8_t {
    cancel,   // the task is cancelled
    timeout,  // its host stands still until the next limit or sleep of that worker is over
    reset,    // one of its host's connections is reset
    kill,     // its host's process is killed
};

class World {
public:
    explicit World(std::uint64_t seed, WorldOptions options = {});
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    ~World();  // kills what runs

    // With 2 workers and a small pool of buffers unless the options say otherwise. It is the World's.
    Host& add_host(std::string name);
    Host& add_host(std::string name, const RuntimeOptions& options);
    static RuntimeOptions host_options() noexcept;

    // Runs until every process has ended. Throws Stuck, or what a main task threw.
    void run();
    // Until `done` says so (looked at between any two events) or `limit` of virtual time has passed: false. Throws as
    // run.
    bool run_until(const std::function<bool()>& done, Duration limit = std::chrono::hours(24));
    // For a while of virtual time. A world where nothing happens is not Stuck here. Throws what a main task threw.
    void run_for(Duration duration);
    // Moves the clock while every process stands still: what fell due is late.
    void advance(Duration duration);

    Instant now() const noexcept;
    Duration elapsed() const noexcept;  // virtual time since the world began
    std::uint64_t seed() const noexcept;
    std::uint64_t random() noexcept;  // from the seed; the generator of chainring::random()
    Sums sums() const noexcept;
    std::size_t running() const noexcept;  // hosts with a process

    // ---- the network
    void wire(const Host& from, const Host& to, const Wire& wire);  // that direction
    void cut(const Host& from, const Host& to);                     // nothing arrives in that direction
    void mend(const Host& from, const Host& to);
    void partition(const Host& one, const Host& other);  // both directions
    void heal(const Host& one, const Host& other);
    void heal();                              // everywhere, and the wires are as at first
    bool reset_connection(const Host& host);  // one of its connections, drawn; false: it has none

    // ---- faults by the seed
    // Plans `count` faults at drawn times within `duration` from now, each over after a while: partitions (of one or
    // both directions), resets, slow wires, paused processes, processes out of descriptors.
    void misbehave(unsigned count, Duration duration);
    // Strikes at the nth wait of any task from the beginning of the world. See strike_everywhere.
    void strike(Strike kind, std::uint64_t nth) noexcept;
    bool struck() const noexcept;

    // ---- replay
    std::uint64_t trace_hash() const noexcept;  // of every event so far: equal runs have equal hashes
    void print_trace(std::ostream& out) const;  // a line each: time, host, task, event. With keep_trace only
    std::string dump() const;                   // what the tasks of every host do

private:
    friend class Host;
    struct State;
    std::unique_ptr<State> state_;
};

// Runs body(world) for `count` seeds from 1 on, or, when CHAINRING_SEED is set, for that one alone. When the body
// throws (a failed REQUIRE of a test does), the seed and the command that replays it go to stderr, with CHAINRING_TRACE
// the trace too, and the exception goes on.
void explore(std::uint64_t count, const std::function<void(World&)>& body, const WorldOptions& options = {});

// Runs body(world) with a strike at the 1st wait, at the 2nd, and so on, until a run has had fewer waits than that:
// each wait of the program is struck once. Returns how many there were. Failures are told as by explore.
std::uint64_t strike_everywhere(Strike kind, std::uint64_t seed, const std::function<void(World&)>& body,
                                const WorldOptions& options = {});

}  // namespace sim
CHAINRING_END_NAMESPACE
