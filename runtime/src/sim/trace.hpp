// SPDX-License-Identifier: BSL-1.0
// Trace: what happened in a simulated world, in order. Two runs are the same if their hashes are: it is the proof of
// determinism, and the events are what a person reads to see what a seed did. One thread.
//
// Only numbers that mean the same on every machine go in: times, indices, descriptors, bytes. Never a pointer, the size
// of a type or the place in a hash table. The hash is arithmetic on 64-bit numbers, so that no byte order enters.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include "runtime/src/sim/timeline.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

// New kinds go to the end: their numbers are part of the hash.
enum class TraceKind : std::uint8_t {
    note,  // the two numbers mean what the writer wants
    // what a program asks of its system
    open,
    listen,
    connect,
    accept,
    recv,
    send,
    shutdown_write,
    close,
    submit,
    cancel,
    complete,
    wake,
    // the network
    syn,
    syn_dropped,
    refused,
    established,
    segment,
    arrival,
    fin,
    reset,
    lost,
    retransmit,
    timed_out,
    aborted,
    // what is done to the world
    conditions,
    block,
    heal,
    kill,
    power_off,
    power_on,
    // the driver's
    step,
    resume,
    spawn,
    stop,
    fault,
    task_end,
    process_end,
    count  // how many there are
};
std::string_view name_of(TraceKind kind) noexcept;

struct TraceEvent {
    Instant time;
    std::uint64_t task = 0;     // 0: none
    std::uint32_t machine = 0;  // 0: none; else its number, from 1
    TraceKind kind = TraceKind::note;
    std::int64_t first = 0;
    std::int64_t second = 0;
};

class Trace {
public:
    explicit Trace(const Timeline& timeline) noexcept : timeline_(timeline) {}
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;

    // Where we are: what is recorded from here on was done by this task of this machine. The driver says so.
    void at(std::uint32_t machine, std::uint64_t task) noexcept {
        machine_ = machine;
        task_ = task;
    }
    void record(TraceKind kind, std::int64_t first = 0, std::int64_t second = 0) {
        add(machine_, task_, kind, first, second);
    }
    // What happens to a machine by itself, as a segment that arrives.
    void record_on(std::uint32_t machine, TraceKind kind, std::int64_t first = 0, std::int64_t second = 0) {
        add(machine, 0, kind, first, second);
    }

    std::uint64_t hash() const noexcept { return hash_; }
    std::uint64_t count() const noexcept { return count_; }

    // Keeps the latest `most` events for reading; 0, as at the beginning: none.
    void keep(std::size_t most);
    // Those kept, oldest first.
    std::vector<TraceEvent> events() const;
    void name_machine(std::uint32_t machine, std::string_view name);
    // "   0.012345678 s  server  task 7  recv 512 bytes, fd 5"
    std::string line(const TraceEvent& event) const;
    std::string text() const;  // all that are kept, a line each

private:
    void add(std::uint32_t machine, std::uint64_t task, TraceKind kind, std::int64_t first, std::int64_t second);
    void mix(std::uint64_t word) noexcept {
        hash_ = (hash_ ^ word) * 0x9fb2'1c65'1e98'df25;
        hash_ ^= hash_ >> 32;
    }

    const Timeline& timeline_;
    std::uint64_t hash_ = 0x6368'6169'6e72'696e;
    std::uint64_t count_ = 0;
    std::uint64_t task_ = 0;
    std::uint32_t machine_ = 0;
    std::size_t most_ = 0;
    std::size_t oldest_ = 0;  // once `kept_` is full, it is a ring
    std::vector<TraceEvent> kept_;
    std::vector<std::string> names_;
};

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
