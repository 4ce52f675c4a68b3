// SPDX-License-Identifier: BSL-1.0
// Stage: what the plays of the samples have in common: hosts that are started again when they have ended too early,
// faults by the seed, and the rules that hold for all of them at the end.
//
//   trouble    faults begin at drawn times within `trouble_lasts`, and each is over after at most twice as long
//   calm       the network is healed, every process runs again; from here on everybody gets done in bounded time
//   end        the servers are stopped; no process, task, Link, lent buffer or descriptor is left
//
// Clients and rules share memory, for all hosts are in one process: what a client has seen is written where the rules
// read it. It is declared before the Stage's end in a play: the Stage kills what still runs when it ends.
#pragma once

#include <chainring/chainring.hpp>
#include <chainring/sim.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

struct Scale {
    unsigned clients = 8;
    unsigned messages = 13;  // of each client
    bool trouble = true;
    bool servers_cut_short = false;  // tasks of servers are struck: that they end before their time is no defect
};

// What a play came to.
struct Figures {
    std::uint64_t runs = 0;
    std::uint64_t links = 0;     // of servers and clients
    std::uint64_t messages = 0;  // that came back, or were said in the room
    std::uint64_t orderly = 0;   // connections that ended in order, complete
    std::uint64_t faults = 0;
    std::uint64_t bytes = 0;
    std::uint64_t segments = 0;
    std::uint64_t waits = 0;
    std::uint64_t events = 0;
    chainring::Duration virtual_time{};
    std::uint64_t hash = 0;  // of the last run's trace
    Figures& operator+=(const Figures& other) noexcept;
};

// A rule that did not hold.
struct Broken : std::runtime_error {
    using std::runtime_error::runtime_error;
};
inline void require(bool holds, const char* rule) {
    if (!holds) throw Broken(rule);
}

class Stage {
public:
    Stage(chainring::sim::World& world, const Scale& scale);
    Stage(const Stage&) = delete;
    Stage& operator=(const Stage&) = delete;
    ~Stage();

    // A host whose process is started again when it ends while `wanted` says that it should not.
    chainring::sim::Host& add_server(std::string name);
    chainring::sim::Host& add_client(std::string name, std::function<bool()> wanted);

    // Runs through the trouble and on until `done` says that everybody has what they wanted; it is asked every 100 ms
    // once it is calm.
    void perform(const std::function<bool()>& done);
    // Only the latter.
    void go_on(const std::function<bool()>& done);
    // `forsaken`: servers may have Links whose peers went without a word and whose handlers wait without a limit.
    Figures finish(bool forsaken);

    // How often a server's process was ended from outside so far, and whether one was since, or is about to end: what
    // was going on then may end early.
    unsigned interruptions() const noexcept { return interruptions_; }
    bool interrupted_since(unsigned began) const noexcept;
    std::uint64_t draw(std::uint64_t low, std::uint64_t high) noexcept {
        return low + world.random() % (high - low + 1);
    }
    chainring::Duration draw_time(chainring::Duration most) noexcept {
        return chainring::Duration(draw(0, static_cast<std::uint64_t>(most.count())));
    }

    chainring::sim::World& world;
    const Scale scale;
    Figures figures;

private:
    struct Actor {
        chainring::sim::Host* host;
        std::function<bool()> wanted;  // none: a server
        bool coming_back = false;
        bool stopping = false;
        bool is_server() const noexcept { return !wanted; }
        bool missing() const { return !coming_back && !host->running() && (is_server() || wanted()); }
    };
    Actor& add(std::string name, const chainring::RuntimeOptions& options, std::function<bool()> wanted);
    void at(chainring::Duration delay, std::function<void()> act);
    void plan_trouble();
    void act_up();
    void run_to(chainring::Instant end);
    void bring_back();
    std::string what_is_there() const;

    std::vector<std::unique_ptr<Actor>> actors_;
    std::multimap<chainring::Instant, std::function<void()>> agenda_;
    unsigned interruptions_ = 0;
    std::uint64_t faults_ = 0;  // those that the World does not count
};
