// SPDX-License-Identifier: BSL-1.0
// Simulation: the simulated world below its public face (net's sim::World): the clock, the network, the hosts, the
// seed, and the loop in which one thing at a time happens.
//
//   1 of the workers that can go on (not parked, or something is there for them), the seed picks one; it plays a part
//     of its pass (its tasks, the rest, its parking, or the end of its sleep), which takes a little virtual time
//   2 when none can, time jumps to what comes next: an event of the network, a timer, the end of a stall
//   3 when nothing comes, the world is stuck
//
// One thread. Two Simulations may live on two threads; they share nothing.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include "runtime/src/sim/mischief.hpp"
#include "runtime/src/sim/network.hpp"
#include "runtime/src/sim/random.hpp"
#include "runtime/src/sim/timeline.hpp"
#include "runtime/src/sim/trace.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail {
class TaskContext;
class Worker;

namespace sim {

class Host;

// What befalls a task at a chosen one of all the waits of a run.
enum class Strike : std::uint8_t {
    none,
    cancel,   // the task is cancelled
    timeout,  // its host stands still until the next limit of that worker has passed
    reset,    // a connection of its machine is reset
    kill,     // its host's process is killed
};

class Simulation {
public:
    Simulation(std::uint64_t seed, const Mischief& mischief);
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;
    ~Simulation();

    // That of the calling thread, while something of it runs; else null.
    static Simulation* current() noexcept;

    std::uint64_t seed() const noexcept { return seed_; }
    bool shuffles() const noexcept { return network_.mischief.shuffle; }
    Random& random() noexcept { return random_; }
    // As a task reads it: reading takes a moment, so that a loop that waits for a time comes to its end.
    Instant read_clock() noexcept {
        timeline_.spend(Duration(20));
        return timeline_.now();
    }
    Random& users_random() noexcept { return users_random_; }
    Trace& trace() noexcept { return trace_; }
    Timeline& timeline() noexcept { return timeline_; }
    Network& network() noexcept { return network_; }

    Host& add_host(Machine& machine);
    const std::vector<std::unique_ptr<Host>>& hosts() const noexcept { return hosts_; }

    enum class Outcome : std::uint8_t {
        done,     // as `done` said
        time_up,  // it is `until`
        stuck,    // nothing can happen any more
    };
    template <class Done>
    Outcome run(Instant until, Done done) {
        const Turn turn(*this);
        for (;;) {
            if (done()) return Outcome::done;
            switch (step(until)) {
                case Step::played:
                    break;
                case Step::time_up:
                    return Outcome::time_up;
                case Step::nothing:
                    return Outcome::stuck;
            }
        }
    }

    template <class Fn>
    void later(Duration delay, Fn fn) {
        timeline_.call_at(timeline_.now() + delay, std::move(fn));
    }
    // The calling thread is in this world.
    class Turn {
    public:
        explicit Turn(Simulation& simulation) noexcept;
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        ~Turn();

    private:
        Simulation* outer_;
    };

    // Strikes at the nth wait from the start of the world.
    void strike(Strike kind, std::uint64_t nth) noexcept {
        strike_ = kind;
        strike_at_ = nth;
    }
    std::uint64_t waits() const noexcept { return waits_; }
    bool struck() const noexcept { return struck_; }
    void begins_to_wait(Host& host, Worker& worker, TaskContext& task) noexcept;

    std::string report() const;  // what every task of every host waits for

private:
    enum class Step : std::uint8_t { played, time_up, nothing };
    Step step(Instant until);
    bool play_one();
    Instant next() const noexcept;

    std::uint64_t seed_;
    Random random_;
    Random users_random_;
    Timeline timeline_;
    Trace trace_{timeline_};
    Network network_;
    std::vector<std::unique_ptr<Host>> hosts_;
    std::vector<std::pair<Host*, std::size_t>> candidates_;
    std::uint64_t turn_ = 0;  // whose it is, when nothing is shuffled

    std::uint64_t waits_ = 0;
    std::uint64_t strike_at_ = 0;
    Strike strike_ = Strike::none;
    bool struck_ = false;
    // Between two parts of passes.
    Host* doomed_ = nullptr;   // to be killed
    Host* delayed_ = nullptr;  // to stand still until `delaying_`'s next timer
    Worker* delaying_ = nullptr;
};

}  // namespace sim
}  // namespace detail
CHAINRING_END_NAMESPACE
