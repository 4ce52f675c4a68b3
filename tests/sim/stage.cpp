// SPDX-License-Identifier: BSL-1.0
#include "tests/sim/stage.hpp"

#include <algorithm>
#include <utility>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

constexpr Duration trouble_lasts = 1s;
constexpr Duration patience = 30min;                   // more than TCP's own, of some 15 minutes
constexpr std::string_view task_mark = " on worker ";  // in a report
constexpr unsigned enough_descriptors = 1U << 20;

std::size_t tasks_of(const sim::Host& host) {
    const std::string text = host.dump();
    std::size_t count = 0;
    for (std::size_t at = text.find(task_mark); at != text.npos; at = text.find(task_mark, at + 1)) ++count;
    return count;
}

// Nothing of a connection is there: of a server, its listener alone. (Buffers: a Runtime that ends with one lent
// traps.)
bool is_idle(const sim::Host& host) {
    if (!host.running()) return host.descriptors() == 0;
    return host.links() == 0 && host.descriptors() == 1;
}

}  // namespace

Figures& Figures::operator+=(const Figures& other) noexcept {
    runs += other.runs;
    links += other.links;
    messages += other.messages;
    orderly += other.orderly;
    faults += other.faults;
    bytes += other.bytes;
    segments += other.segments;
    waits += other.waits;
    events += other.events;
    virtual_time += other.virtual_time;
    hash = other.hash;
    return *this;
}

Stage::Stage(sim::World& in, const Scale& of) : world(in), scale(of) {}

Stage::~Stage() {
    for (const auto& actor : actors_) actor->host->kill();
}

sim::Host& Stage::add_server(std::string name) {
    return *add(std::move(name), sim::World::host_options(), nullptr).host;
}

sim::Host& Stage::add_client(std::string name, std::function<bool()> wanted) {
    RuntimeOptions options = sim::World::host_options();
    options.workers = 1;
    return *add(std::move(name), options, std::move(wanted)).host;
}

Stage::Actor& Stage::add(std::string name, const RuntimeOptions& options, std::function<bool()> wanted) {
    actors_.push_back(std::make_unique<Actor>());
    actors_.back()->host = &world.add_host(std::move(name), options);
    actors_.back()->wanted = std::move(wanted);
    return *actors_.back();
}

// ---- trouble

void Stage::at(Duration delay, std::function<void()> act) {
    agenda_.emplace(world.now() + delay, std::move(act));
}

void Stage::plan_trouble() {
    const auto of_the_network = static_cast<unsigned>(draw(4, 8));
    world.misbehave(of_the_network, trouble_lasts);
    const std::uint64_t of_processes = draw(1, 4);
    for (std::uint64_t count = 0; count < of_processes; ++count) at(draw_time(trouble_lasts), [this] { act_up(); });
}

// Something happens to a process.
void Stage::act_up() {
    Actor& actor = *actors_[static_cast<std::size_t>(draw(0, actors_.size() - 1))];
    const std::uint64_t what = draw(0, 3);
    if (actor.is_server() && what < 3) ++interruptions_;
    switch (what) {
        case 0:
            actor.host->kill();
            return;
        case 1:
            if (actor.coming_back) return;
            actor.coming_back = true;
            actor.host->power_off();
            at(draw_time(2 * trouble_lasts), [&actor] {
                actor.host->power_on();
                actor.coming_back = false;
            });
            return;
        case 2:
            ++faults_;
            actor.stopping = actor.host->running();
            actor.host->stop();
            return;
        default:
            ++faults_;
            actor.host->limit_descriptors(static_cast<unsigned>(draw(2, 12)));
            at(draw_time(trouble_lasts), [&actor] { actor.host->limit_descriptors(enough_descriptors); });
            return;
    }
}

bool Stage::interrupted_since(unsigned began) const noexcept {
    return scale.servers_cut_short || interruptions_ != began ||
           std::any_of(actors_.begin(), actors_.end(),
                       [](const auto& actor) { return actor->is_server() && actor->stopping; });
}

void Stage::bring_back() {
    for (const auto& each : actors_) {
        Actor& actor = *each;
        if (!actor.missing()) continue;
        if (actor.is_server()) ++interruptions_;
        actor.stopping = false;
        actor.coming_back = true;
        at(1ms + draw_time(500ms), [&actor] {
            actor.coming_back = false;
            if (actor.missing()) actor.host->restart();
        });
    }
}

void Stage::run_to(Instant end) {
    const auto someone_is_missing = [this] {
        return std::any_of(actors_.begin(), actors_.end(), [](const auto& actor) { return actor->missing(); });
    };
    while (world.now() < end) {
        const Instant next = agenda_.empty() ? end : std::min(end, agenda_.begin()->first);
        if (next > world.now()) world.run_until(someone_is_missing, next - world.now());
        bring_back();
        while (!agenda_.empty() && agenda_.begin()->first <= world.now()) {
            const auto act = agenda_.extract(agenda_.begin());
            act.mapped()();
        }
    }
}

// ---- the play

void Stage::perform(const std::function<bool()>& done) {
    if (scale.trouble) {
        plan_trouble();
        run_to(world.now() + 4 * trouble_lasts);
        world.heal();
    }
    go_on(done);
}

void Stage::go_on(const std::function<bool()>& done) {
    const Instant end = world.now() + patience;
    while (!done()) {
        if (world.now() >= end) throw Broken("somebody waits for ever:\n" + world.dump());
        run_to(world.now() + 100ms);
    }
}

std::string Stage::what_is_there() const {
    std::string text;
    for (const auto& actor : actors_) {
        const sim::Host& host = *actor->host;
        text += host.name() + ": " + std::to_string(host.descriptors()) + " descriptors";
        if (host.running()) text += ", " + std::to_string(host.links()) + " Links:\n" + host.dump();
        text += "\n";
    }
    return text;
}

Figures Stage::finish(bool forsaken) {
    go_on([this] {
        return std::none_of(actors_.begin(), actors_.end(),
                            [](const auto& actor) { return !actor->is_server() && actor->host->running(); });
    });
    if (!forsaken) {
        const auto idle = [this] {
            return std::all_of(actors_.begin(), actors_.end(), [](const auto& actor) { return is_idle(*actor->host); });
        };
        if (!world.run_until(idle, patience)) throw Broken("something is left of connections:\n" + what_is_there());
        for (const auto& actor : actors_)
            if (actor->host->running()) require(tasks_of(*actor->host) == 2, "a server without Links has tasks left");
    }
    for (const auto& actor : actors_) actor->host->stop();
    const auto over = [this] {
        return std::none_of(actors_.begin(), actors_.end(), [](const auto& actor) { return actor->host->running(); });
    };
    // A process that stands still stops later.
    if (!world.run_until(over, scale.servers_cut_short ? patience : Duration(1min)))
        throw Broken("a server does not stop:\n" + world.dump());
    for (const auto& actor : actors_) require(actor->host->descriptors() == 0, "descriptors are left");

    const sim::Sums sums = world.sums();
    figures.runs = 1;
    figures.links = 2 * sums.connections;
    figures.faults = sums.faults + faults_;
    figures.bytes = sums.bytes;
    figures.segments = sums.segments;
    figures.waits = sums.waits;
    figures.events = sums.events;
    figures.virtual_time = world.elapsed();
    figures.hash = world.trace_hash();
    if (scale.trouble) {
        require(figures.links >= 8, "there are at least 8 Links");
        require(figures.messages >= 100, "there are at least 100 messages");
        require(figures.faults >= 5, "there are at least 5 faults");
    }
    return figures;
}
