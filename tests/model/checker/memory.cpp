// SPDX-License-Identifier: BSL-1.0
// The memory of an Execution. The rules are those stated in model.hpp.
#include "tests/model/checker/execution.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace model::detail {

namespace {

bool acquires(std::memory_order order) noexcept {
    return order == std::memory_order_acquire || order == std::memory_order_consume ||
           order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}
bool releases(std::memory_order order) noexcept {
    return order == std::memory_order_release || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
}
const char* name_of(std::memory_order order) noexcept {
    switch (order) {
        case std::memory_order_relaxed:
            return "relaxed";
        case std::memory_order_consume:
            return "consume";
        case std::memory_order_acquire:
            return "acquire";
        case std::memory_order_release:
            return "release";
        case std::memory_order_acq_rel:
            return "acq_rel";
        case std::memory_order_seq_cst:
            return "seq_cst";
    }
    return "?";
}
std::string in(const Where& where) {
    const std::string at = place(where);
    return at.empty() ? at : " at " + at;
}
std::size_t slot_of(const void* address, std::size_t size) noexcept {
    return std::size_t((reinterpret_cast<std::uintptr_t>(address) >> 2) * 0x9E3779B97F4A7C15U >> 40) & (size - 1);
}

}  // namespace

std::string place(const Where& where) {
    if (where.line() == 0) return "";
    const std::string_view path = where.file_name();
    const auto slash = path.rfind('/');
    return std::string(slash == path.npos ? path : path.substr(slash + 1)) + ":" + std::to_string(where.line());
}

// ---- locations

Location* Execution::find(const void* address) noexcept {
    for (std::size_t slot = slot_of(address, table_.size()); table_[slot]; slot = (slot + 1) & (table_.size() - 1))
        if (locations_[table_[slot] - 1].address == address) return &locations_[table_[slot] - 1];
    return nullptr;
}

void Execution::create(const void* address, Kind kind, const char* type, Word initial, const Where& where) {
    Location* location = find(address);
    if (location && location->alive) fail("an object is made where another one lives: " + describe(*location));
    if (!location) {
        if (used_ == locations_.size()) locations_.emplace_back();
        location = &locations_[used_++];
        std::size_t slot = slot_of(address, table_.size());
        while (table_[slot]) slot = (slot + 1) & (table_.size() - 1);
        table_[slot] = std::uint32_t(used_);
        filled_.push_back(std::uint32_t(slot));
        if (filled_.size() > table_.size() / 2) fail("more objects than the checker has room for");
    }
    const std::uint32_t now = tick();
    location->address = address;
    location->type = type;
    location->kind = kind;
    location->alive = true;
    location->creator = location->writer = std::uint8_t(self_);
    location->created = location->written = now;
    location->accessed = location->read = location->released = Clock{};
    location->stores.clear();
    location->reads.clear();
    location->sc_floor = 0;
    location->owner = -1;
    if (kind == Kind::atomic) location->stores.push_back({initial, Clock{}, now, std::uint8_t(self_)});
    if (tracing_ && kind != Kind::data) trace("made", location, show(*location, initial), where);
}

// The end of an object is a write to it: every access of another thread has to happen before.
void Execution::destroy(const void* address, const Where& where) {
    Location* location = find(address);
    if (!location || !location->alive) fail("an object is destroyed twice (" + place(where) + ")");
    if (tracing_ && location->kind != Kind::data) trace("destroyed", location, "", where);
    for (unsigned i = 0; i < max_threads; ++i)
        if (!view().covers(i, location->accessed.at[i]))
            fail("destroyed while another thread may still use it: " + describe(*location) + ", last used by thread " +
                 std::to_string(i) + ", destroyed by thread " + std::to_string(self_));
    if (location->owner >= 0) fail("a mutex is destroyed while it is held: " + describe(*location));
    location->alive = false;
    tick();
}

Location& Execution::access(const void* address, const char* name, const Where& where) {
    Location* location = find(address);
    if (!location) fail(std::string("use of something that is no object (") + name + in(where) + ")");
    if (!location->alive) {
        if (tracing_) trace(name, location, "", where);
        fail("use after destruction: " + describe(*location) + " by thread " + std::to_string(self_) + " (" + name +
             in(where) + ")");
    }
    if (in_predicate_) return *location;
    if (!view().covers(location->creator, location->created))
        fail("data race: thread " + std::to_string(self_) + " uses an object whose construction it need not see: " +
             describe(*location) + " (" + name + in(where) + ")");
    location->accessed.at[self_] = view().at[self_] + 1;  // the time of the event that follows
    return *location;
}

// ---- atomics

// The oldest store that a load by this thread may read.
std::size_t Execution::floor_of(const Location& location, std::memory_order order) const noexcept {
    const Clock& seen = threads_[self_].clock;
    std::size_t floor = order == std::memory_order_seq_cst ? location.sc_floor : 0;
    for (std::size_t i = location.stores.size(); i-- > floor + 1;) {
        if (!seen.covers(location.stores[i].thread, location.stores[i].time)) continue;
        floor = i;
        break;
    }
    for (const Read& read : location.reads)
        if (read.store > floor && seen.covers(read.thread, read.time)) floor = read.store;
    return floor;
}

// One of the stores from `floor` on, the newest first; only such as hold something else than `other_than`.
std::size_t Execution::choose_store(const Location& location, std::size_t floor, const Word* other_than) {
    const std::size_t newest = location.stores.size() - 1;
    std::array<std::uint8_t, max_options> back{};
    std::size_t count = 0;
    for (std::size_t i = 0; i <= newest - floor && i < max_options; ++i)
        if (!other_than || location.stores[newest - i].value != *other_than) back[count++] = std::uint8_t(i);
    const unsigned chosen =
        ask(Question::store, std::span(back).first(count), left_.stale_reads > 0 ? count : std::size_t{1});
    if (chosen > 0 && left_.stale_reads > 0) --left_.stale_reads;
    return newest - chosen;
}

void Execution::read_from(Location& location, std::size_t store, std::memory_order order) {
    if (acquires(order)) view().join(location.stores[store].released);
    const std::uint32_t now = tick();
    if (order == std::memory_order_seq_cst) location.sc_floor = std::max(location.sc_floor, store);
    for (const Read& read : location.reads)
        if (read.thread == self_ && read.store == store) return;
    location.reads.push_back({store, now, std::uint8_t(self_)});
}

// `continues`: a read-modify-write, which prolongs the release sequences that the newest store belongs to.
void Execution::append(Location& location, Word value, std::memory_order order, bool continues) {
    Store next{value, continues ? location.stores.back().released : Clock{}, 0, std::uint8_t(self_)};
    next.time = tick();
    if (releases(order)) next.released.join(view());
    location.stores.push_back(next);
    if (order == std::memory_order_seq_cst) location.sc_floor = location.stores.size() - 1;
}

Word Execution::load(const void* address, std::memory_order order, const Where& where) {
    point();
    Location& location = access(address, "load", where);
    if (in_predicate_) return location.stores.back().value;
    const std::size_t store = choose_store(location, floor_of(location, order), nullptr);
    const bool stale = store + 1 < location.stores.size();
    read_from(location, store, order);
    const Word value = location.stores[store].value;
    if (tracing_)
        trace("load", &location,
              std::string(name_of(order)) + " -> " + show(location, value) + (stale ? " (stale)" : ""), where);
    return value;
}

void Execution::store(const void* address, Word value, std::memory_order order, const Where& where) {
    point();
    Location& location = access(address, "store", where);
    append(location, value, order, false);
    if (tracing_) trace("store", &location, std::string(name_of(order)) + " <- " + show(location, value), where);
}

Word Execution::update(const void* address, Word (*apply)(Word, Word), Word operand, std::memory_order order,
                       const char* name, const Where& where) {
    point();
    Location& location = access(address, name, where);
    const Word before = location.stores.back().value;
    const Word after = apply(before, operand);
    if (acquires(order)) view().join(location.stores.back().released);
    append(location, after, order, true);
    if (tracing_)
        trace(name, &location,
              std::string(name_of(order)) + " " + show(location, before) + " -> " + show(location, after), where);
    return before;
}

bool Execution::compare_exchange(const void* address, Word& expected, Word desired, std::memory_order success,
                                 std::memory_order failure, bool weak, const Where& where) {
    point();
    Location& location = access(address, "compare_exchange", where);
    const Word before = location.stores.back().value;
    bool fails = before != expected;
    if (!fails && weak) {
        const std::array<std::uint8_t, 2> options{0, 1};
        fails = ask(Question::spurious, options, left_.spurious_failures > 0 ? 2 : 1) == 1;
        if (fails && left_.spurious_failures > 0) --left_.spurious_failures;
    }
    if (fails) {
        const Word wanted = expected;
        // For no reason: reads what it expects. Else any store that it may read and that holds something else.
        const std::size_t store = before == expected ? location.stores.size() - 1
                                                     : choose_store(location, floor_of(location, failure), &wanted);
        read_from(location, store, failure);
        expected = location.stores[store].value;
        if (tracing_)
            trace("compare_exchange", &location,
                  std::string(name_of(failure)) + " fails: is " + show(location, expected) + ", expected " +
                      show(location, wanted),
                  where);
        return false;
    }
    if (acquires(success)) view().join(location.stores.back().released);
    append(location, desired, success, true);
    if (tracing_)
        trace("compare_exchange", &location,
              std::string(name_of(success)) + " " + show(location, before) + " -> " + show(location, desired), where);
    return true;
}

// ---- mutexes

void Execution::lock(const void* address, const Where& where) {
    point();
    Location* location = &access(address, "lock", where);
    if (location->owner == int(self_)) fail("a thread locks a mutex that it holds: " + describe(*location));
    while (location->owner >= 0) {
        struct Free {
            Execution* execution;
            const void* address;
        } subject{this, address};
        wait(
            [](void* what) {
                const auto& mutex = *static_cast<Free*>(what);
                const Location* found = mutex.execution->find(mutex.address);
                return !found->alive || found->owner < 0;
            },
            &subject, "for a mutex", where);
        location = &access(address, "lock", where);
    }
    location->owner = int(self_);
    view().join(location->released);
    tick();
    if (tracing_) trace("lock", location, "", where);
}

bool Execution::try_lock(const void* address, const Where& where) {
    point();
    Location& location = access(address, "try_lock", where);
    const bool taken = location.owner < 0;
    if (taken) {
        location.owner = int(self_);
        view().join(location.released);
    }
    tick();
    if (tracing_) trace("try_lock", &location, taken ? "taken" : "is held", where);
    return taken;
}

void Execution::unlock(const void* address, const Where& where) {
    point();
    Location& location = access(address, "unlock", where);
    if (location.owner != int(self_)) fail("a thread unlocks a mutex that it does not hold: " + describe(location));
    location.owner = -1;
    tick();
    location.released = view();
    if (tracing_) trace("unlock", &location, "", where);
}

// ---- data that is not atomic

void Execution::read_data(const void* address, const Where& where) {
    if (in_predicate_) return;
    Location& location = access(address, "read", where);
    if (tracing_) trace("read", &location, "", where);
    if (!view().covers(location.writer, location.written))
        fail("data race: thread " + std::to_string(self_) + " reads what thread " + std::to_string(location.writer) +
             " writes: " + describe(location) + in(where));
    location.read.at[self_] = tick();
}

void Execution::write_data(const void* address, const Where& where) {
    Location& location = access(address, "write", where);
    if (tracing_) trace("write", &location, "", where);
    if (!view().covers(location.writer, location.written))
        fail("data race: threads " + std::to_string(self_) + " and " + std::to_string(location.writer) +
             " write: " + describe(location) + in(where));
    for (unsigned i = 0; i < max_threads; ++i)
        if (!view().covers(i, location.read.at[i]))
            fail("data race: thread " + std::to_string(self_) + " writes what thread " + std::to_string(i) +
                 " reads: " + describe(location) + in(where));
    location.writer = std::uint8_t(self_);
    location.written = tick();
}

// ---- the trace

std::string Execution::describe(const Location& location) const {
    return "#" + std::to_string(&location - locations_.data()) + " " + location.type;
}

// Pointers are shown by the order in which they appear, so that two runs print the same.
std::string Execution::show(const Location& location, Word value) {
    if (!std::strchr(location.type, '*')) return std::to_string(value);
    if (value == 0) return "null";
    auto found = std::find(pointers_.begin(), pointers_.end(), value);
    if (found == pointers_.end()) found = pointers_.insert(pointers_.end(), value);
    return "p" + std::to_string(found - pointers_.begin() + 1);
}

void Execution::trace(const char* name, const Location* location, const std::string& detail, const Where& where) {
    std::printf("  %4u  thread %u  %-26s %-22s %s %s\n", steps_, self_, place(where).c_str(),
                location ? describe(*location).c_str() : "", name, detail.c_str());
}

void Execution::note(const char* text, const Where& where) {
    if (!tracing_) return;
    std::printf("  %4u  thread %u  %-26s %-22s %s\n", steps_, self_, place(where).c_str(), "", text);
}

}  // namespace model::detail
