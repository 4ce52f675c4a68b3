// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/sim/trace.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

namespace {

// How a kind reads: its name, and what follows, where 1 and 2 stand for the two numbers.
struct Wording {
    std::string_view name;
    std::string_view rest;
};
constexpr std::array<Wording, static_cast<std::size_t>(TraceKind::count)> wordings = {{
    {"note", "1, 2"},
    {"open", "fd 1"},
    {"listen", "fd 1, port 2"},
    {"connect", "fd 1, port 2"},
    {"accept", "fd 1, from fd 2"},
    {"recv", "1 bytes, fd 2"},
    {"send", "1 bytes, fd 2"},
    {"shutdown_write", "fd 1"},
    {"close", "fd 1, reset 2"},
    {"submit", "kind 1, fd 2"},
    {"cancel", "kind 1, fd 2"},
    {"complete", "kind 1, result 2"},
    {"wake", ""},
    {"syn", "connection 1, try 2"},
    {"syn_dropped", "connection 1, port 2"},
    {"refused", "connection 1, port 2"},
    {"established", "connection 1, side 2"},
    {"segment", "1 bytes, connection 2"},
    {"arrival", "1 bytes, connection 2"},
    {"fin", "connection 1, side 2"},
    {"reset", "connection 1, side 2"},
    {"lost", "1 bytes, connection 2"},
    {"retransmit", "1 bytes, connection 2"},
    {"timed_out", "connection 1, side 2"},
    {"aborted", "connection 1, fd 2"},
    {"conditions", "from machine 1 to 2"},
    {"block", "from machine 1 to 2"},
    {"heal", "from machine 1 to 2"},
    {"kill", "machine 1"},
    {"power_off", "machine 1"},
    {"power_on", "machine 1"},
    {"step", "worker 1"},
    {"resume", "worker 1"},
    {"spawn", "task 1"},
    {"stop", "1"},
    {"fault", "1, 2"},
    {"task_end", ""},
    {"process_end", "process 1"},
}};

}  // namespace

std::string_view name_of(TraceKind kind) noexcept {
    return wordings[static_cast<std::size_t>(kind)].name;
}

void Trace::add(std::uint32_t machine, std::uint64_t task, TraceKind kind, std::int64_t first, std::int64_t second) {
    ++count_;
    mix(static_cast<std::uint64_t>(timeline_.now().time_since_epoch().count()));
    mix(task);
    mix((std::uint64_t{machine} << 8) | static_cast<std::uint64_t>(kind));
    mix(static_cast<std::uint64_t>(first));
    mix(static_cast<std::uint64_t>(second));
    if (most_ == 0) return;
    const TraceEvent event{timeline_.now(), task, machine, kind, first, second};
    if (kept_.size() < most_) {
        kept_.push_back(event);
        return;
    }
    kept_[oldest_] = event;
    oldest_ = (oldest_ + 1) % most_;
}

void Trace::keep(std::size_t most) {
    std::vector<TraceEvent> kept = events();
    if (kept.size() > most) kept.erase(kept.begin(), kept.end() - static_cast<std::ptrdiff_t>(most));
    kept_ = std::move(kept);
    oldest_ = 0;
    most_ = most;
}

std::vector<TraceEvent> Trace::events() const {
    std::vector<TraceEvent> ordered(kept_.begin() + static_cast<std::ptrdiff_t>(oldest_), kept_.end());
    ordered.insert(ordered.end(), kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(oldest_));
    return ordered;
}

void Trace::name_machine(std::uint32_t machine, std::string_view name) {
    if (names_.size() <= machine) names_.resize(machine + 1);
    names_[machine] = name;
}

std::string Trace::line(const TraceEvent& event) const {
    std::size_t widest = 0;
    for (const std::string& name : names_) widest = std::max(widest, name.size());
    const long long at = Duration(event.time - Timeline::start).count();
    std::array<char, 64> time{};
    std::snprintf(time.data(), time.size(), "%6lld.%09lld s  ", at / 1'000'000'000, at % 1'000'000'000);
    std::string text = time.data();
    const std::string name = event.machine < names_.size() ? names_[event.machine] : std::to_string(event.machine);
    text += name + std::string(widest - std::min(widest, name.size()), ' ') + "  ";
    if (event.task != 0) text += "task " + std::to_string(event.task) + "  ";
    const Wording& wording = wordings[static_cast<std::size_t>(event.kind)];
    text += wording.name;
    if (!wording.rest.empty()) text += ' ';
    for (const char c : wording.rest) {
        if (c == '1')
            text += std::to_string(event.first);
        else if (c == '2')
            text += std::to_string(event.second);
        else
            text += c;
    }
    return text;
}

std::string Trace::text() const {
    std::string all;
    for (const TraceEvent& event : events()) all += line(event) + "\n";
    return all;
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
