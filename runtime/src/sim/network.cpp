// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/sim/network.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

Network::Network(Timeline& timeline, Random& random, Trace& trace)
    : timeline_(timeline), random_(random), trace_(trace) {}

Machine& Network::add_machine(std::string_view name, std::span<const std::string_view> addresses) {
    std::vector<HostAddress> parsed;
    for (const std::string_view address : addresses) parsed.push_back(HostAddress::parse(address));
    const auto number = static_cast<std::uint32_t>(machines_.size() + 1);
    machines_.push_back(std::make_unique<Machine>(*this, number, std::string(name), std::move(parsed)));
    for (std::vector<Path>& row : paths_) row.push_back(Path{default_, {}});
    paths_.emplace_back(machines_.size(), Path{default_, {}});
    Conditions& loopback = paths_.back().back().is;
    loopback = Conditions();
    loopback.latency = std::chrono::microseconds(10);
    loopback.jitter = std::chrono::microseconds(5);
    trace_.name_machine(number, name);
    return *machines_.back();
}

Machine* Network::find(const HostAddress& address) const noexcept {
    for (const auto& machine : machines_)
        if (machine->has(address)) return machine.get();
    return nullptr;
}

// ---- ways

const Network::Path& Network::path(const Machine& from, const Machine& to) const noexcept {
    return paths_[from.number() - 1][to.number() - 1];
}
Network::Path& Network::path(const Machine& from, const Machine& to) noexcept {
    return paths_[from.number() - 1][to.number() - 1];
}

bool Network::reachable(const Machine& from, const Machine* to) const noexcept {
    return to && to->is_up() && !path(from, *to).is.blocked;
}

void Network::set_conditions(const Machine& from, const Machine& to, const Conditions& conditions) {
    trace_.record_on(0, TraceKind::conditions, from.number(), to.number());
    path(from, to).is = conditions;
    paths_changed();
}

void Network::block(const Machine& from, const Machine& to) {
    trace_.record_on(0, TraceKind::block, from.number(), to.number());
    path(from, to).is.blocked = true;
    paths_changed();
}

void Network::heal(const Machine& from, const Machine& to) {
    trace_.record_on(0, TraceKind::heal, from.number(), to.number());
    path(from, to).is.blocked = false;
}

void Network::paths_changed() {
    for (const auto& connection : connections_) connection->path_changed();
}

// The connections of a way share its bandwidth: each segment waits for those that left before it.
Instant Network::arrival(const Machine& from, const Machine& to, std::size_t bytes) {
    Path& way = path(from, to);
    Instant leaves = timeline_.now();
    if (way.is.bandwidth > 0) {
        constexpr std::uint64_t overhead = 66;  // headers of Ethernet, IP and TCP
        const std::uint64_t nanoseconds = (bytes + overhead) * 1'000'000'000 / way.is.bandwidth;
        leaves = std::max(leaves, way.busy_until) + Duration(nanoseconds);
        way.busy_until = leaves;
    }
    const std::uint64_t jitter = random_.between(0, static_cast<std::uint64_t>(way.is.jitter.count()));
    return leaves + way.is.latency + Duration(jitter);
}

// ---- connections

Connection& Network::begin_connection(bool local) {
    if (free_.empty()) {
        connections_.push_back(std::make_unique<Connection>(*this));
        free_.push_back(connections_.back().get());
    }
    Connection& connection = *free_.back();
    free_.pop_back();
    connection.begin(next_number_++, local);
    ++totals_.connects;
    return connection;
}

std::size_t Network::established() const noexcept {
    return static_cast<std::size_t>(std::count_if(connections_.begin(), connections_.end(), [](const auto& connection) {
        return connection->is_established() && !connection->local;
    }));
}

std::size_t Network::live() const noexcept {
    return connections_.size() - free_.size();
}

bool Network::reset_any() {
    const std::size_t count = established();
    if (count == 0) return false;
    std::uint64_t which = random_.below(count);
    for (const auto& connection : connections_) {
        if (!connection->is_established() || connection->local || which-- > 0) continue;
        reset(*connection);
        return true;
    }
    return false;
}

void Network::reset(Connection& which) {
    if (!which.is_established()) return;
    for (unsigned side = 0; side < 2; ++side) {
        ++totals_.resets;
        trace_.record_on(which.ends[side].machine->number(), TraceKind::reset, which.number, side);
        which.fail(side, ECONNRESET);
    }
}

bool Network::reset(const Machine& machine, int fd) {
    Connection* connection = machine.connection_of(fd);
    if (!connection || !connection->is_established()) return false;
    reset(*connection);
    return true;
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
