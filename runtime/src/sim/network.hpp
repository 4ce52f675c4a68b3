// SPDX-License-Identifier: BSL-1.0
// Network: the machines of a simulated world, the ways between them and what travels there. It does what it does only
// when a machine's system is called or the Timeline goes on, and every choice is the seed's. One thread; outlives its
// backends, and
// the Timeline outlives it.
#pragma once

#include <chainring/config.hpp>

#include "runtime/src/sim/connection.hpp"
#include "runtime/src/sim/machine.hpp"
#include "runtime/src/sim/mischief.hpp"
#include "runtime/src/sim/random.hpp"
#include "runtime/src/sim/timeline.hpp"
#include "runtime/src/sim/trace.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

// Of the way from one machine to another; the way back has its own.
struct Conditions {
    Duration latency = std::chrono::microseconds(200);
    Duration jitter = std::chrono::microseconds(50);  // at most so much more; order is kept, as it is TCP
    std::uint64_t bandwidth = 0;                      // bytes per second, of all connections; 0: no limit
    bool blocked = false;
};

// What has happened so far, for reports.
struct Totals {
    std::uint64_t connects = 0;     // connections that were begun
    std::uint64_t established = 0;  // and got through
    std::uint64_t refused = 0;
    std::uint64_t accepted = 0;
    std::uint64_t syns_dropped = 0;
    std::uint64_t segments = 0;
    std::uint64_t bytes = 0;  // that arrived
    std::uint64_t lost = 0;   // segments
    std::uint64_t retransmissions = 0;
    std::uint64_t resets = 0;  // ends that were reset
    std::uint64_t timeouts = 0;
};

class Network {
public:
    Network(Timeline& timeline, Random& random, Trace& trace);
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    // The first address of each family is what its connections come from. Throws std::invalid_argument.
    Machine& add_machine(std::string_view name, std::span<const std::string_view> addresses);
    std::span<const std::unique_ptr<Machine>> machines() const noexcept { return machines_; }
    Machine* find(const HostAddress& address) const noexcept;

    // ---- the ways, at any time; in one direction
    const Conditions& conditions(const Machine& from, const Machine& to) const noexcept { return path(from, to).is; }
    void set_conditions(const Machine& from, const Machine& to, const Conditions& conditions);
    // Those of ways that are made by adding machines later.
    void set_default_conditions(const Conditions& conditions) noexcept { default_ = conditions; }
    void block(const Machine& from, const Machine& to);
    void heal(const Machine& from, const Machine& to);

    // ---- connections
    std::size_t established() const noexcept;  // of TCP, open at both ends
    std::size_t live() const noexcept;         // of which anything is left, be it on the way
    bool reset_any();                          // an established TCP connection, seeded; false: there is none
    void reset(Connection& which);             // both ends are told ECONNRESET, as by a box on the way
    bool reset(const Machine& machine, int fd);

    const Totals& totals() const noexcept { return totals_; }
    Mischief mischief;

    // ---- for machines and connections
    Timeline& timeline() const noexcept { return timeline_; }
    Random& random() const noexcept { return random_; }
    Trace& trace() const noexcept { return trace_; }
    Totals& count() noexcept { return totals_; }
    Connection& begin_connection(bool local);
    void release(Connection& connection) noexcept { free_.push_back(&connection); }
    bool reachable(const Machine& from, const Machine* to) const noexcept;
    // When what leaves now arrives.
    Instant arrival(const Machine& from, const Machine& to, std::size_t bytes);
    void paths_changed();

private:
    struct Path {
        Conditions is;
        Instant busy_until;
    };
    const Path& path(const Machine& from, const Machine& to) const noexcept;
    Path& path(const Machine& from, const Machine& to) noexcept;

    Timeline& timeline_;
    Random& random_;
    Trace& trace_;
    Totals totals_;
    Conditions default_;
    std::vector<std::unique_ptr<Machine>> machines_;
    std::vector<std::vector<Path>> paths_;  // [from][to]
    std::vector<std::unique_ptr<Connection>> connections_;
    std::vector<Connection*> free_;
    std::uint32_t next_number_ = 1;
};

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
