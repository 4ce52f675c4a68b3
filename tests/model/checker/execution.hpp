// SPDX-License-Identifier: BSL-1.0
// Execution: one run of a test's body under one list of answers: its threads (schedule.cpp) and its memory
// (memory.cpp). The templates of model.hpp call it; what it explores of the C++ memory model is said there.
// Values are 64-bit words here. One operating-system thread runs everything.
#pragma once

#include "tests/model/checker/clock.hpp"
#include "tests/model/checker/fiber.hpp"
#include "tests/model/checker/strategy.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

namespace model {

using Where = std::source_location;

struct Bounds {
    unsigned preemptions;
    unsigned stale_reads;
    unsigned spurious_failures;
    unsigned steps;
};

namespace detail {

using Word = std::uint64_t;

std::string place(const Where& where);  // "inbox.hpp:25"; empty for Where{}

enum class Kind : std::uint8_t { atomic, data, mutex };

// One store of an atomic's modification order.
struct Store {
    Word value;
    Clock
        released;  // what a load that acquires it learns; empty for a relaxed store that continues no release sequence
    std::uint32_t time;
    std::uint8_t thread;
};

// The first time that a thread read a store: coherence forbids whoever knows of it to read an older one.
struct Read {
    std::size_t store;
    std::uint32_t time;
    std::uint8_t thread;
};

struct Location {
    const void* address;
    const char* type;
    Kind kind;
    bool alive;
    std::uint8_t creator;
    std::uint32_t created;
    Clock accessed;  // the last access of each thread
    // An atomic:
    std::vector<Store> stores;
    std::vector<Read> reads;
    std::size_t sc_floor;  // the newest store that a seq_cst operation has read or written
    // Data: the last write, and the last read of each thread.
    std::uint8_t writer;
    std::uint32_t written;
    Clock read;
    // A mutex:
    int owner;
    Clock released;
};

struct Thread {
    enum class State : std::uint8_t { absent, runnable, blocked, finished };
    std::unique_ptr<Fiber> fiber;
    State state = State::absent;
    std::uint8_t yields_to = 0;  // a bit for each thread that has its turn first
    std::function<void()> body;
    Clock clock;
    // While blocked:
    bool (*ready)(void*) = nullptr;
    void* subject = nullptr;
    const char* reason = nullptr;
    Where where{};
};

class Execution {
public:
    Execution();
    ~Execution();
    static Execution& current() noexcept;  // traps when a model object is used outside of a body
    static bool active() noexcept;

    // The explorer. True when the body held. `trace` prints every event as it happens.
    bool run(const std::function<void()>& body, Strategy& strategy, const Bounds& bounds, bool trace);
    const std::string& failure() const noexcept { return failure_; }
    const std::string& choices() const noexcept { return choices_; }
    std::size_t questions() const noexcept { return choices_.size(); }
    bool cut() const noexcept { return cut_; }  // a bound has hidden an answer

    // Threads.
    unsigned spawn(std::function<void()> body, const Where& where);
    void join(unsigned thread, const Where& where);
    void yield(const Where& where);
    void wait(bool (*ready)(void*), void* subject, const char* reason, const Where& where);
    unsigned self() const noexcept { return self_; }
    const Clock& clock() const noexcept { return threads_[self_].clock; }
    [[noreturn]] void fail(const std::string& what);

    // Memory.
    void create(const void* address, Kind kind, const char* type, Word initial, const Where& where);
    void destroy(const void* address, const Where& where);
    Word load(const void* address, std::memory_order order, const Where& where);
    void store(const void* address, Word value, std::memory_order order, const Where& where);
    Word update(const void* address, Word (*apply)(Word, Word), Word operand, std::memory_order order, const char* name,
                const Where& where);
    bool compare_exchange(const void* address, Word& expected, Word desired, std::memory_order success,
                          std::memory_order failure, bool weak, const Where& where);
    void lock(const void* address, const Where& where);
    bool try_lock(const void* address, const Where& where);
    void unlock(const void* address, const Where& where);
    void read_data(const void* address, const Where& where);
    void write_data(const void* address, const Where& where);
    void event();  // a scheduling point, no more
    void note(const char* text, const Where& where);

private:
    static void thread_main();
    void point();
    bool holds(bool (*ready)(void*), void* subject);
    unsigned enabled_mask();
    unsigned pick(bool self_may_stay);
    void change_to(unsigned next);
    void step();
    void leave_turn(unsigned thread) noexcept;
    unsigned ask(Question question, std::span<const std::uint8_t> all, std::size_t allowed);

    Clock& view() noexcept { return threads_[self_].clock; }
    std::uint32_t tick() noexcept { return ++view().at[self_]; }
    Location* find(const void* address) noexcept;
    Location& access(const void* address, const char* name, const Where& where);
    std::size_t floor_of(const Location& location, std::memory_order order) const noexcept;
    std::size_t choose_store(const Location& location, std::size_t floor, const Word* other_than);
    void read_from(Location& location, std::size_t store, std::memory_order order);
    void append(Location& location, Word value, std::memory_order order, bool continues);
    void trace(const char* name, const Location* location, const std::string& detail, const Where& where);
    std::string describe(const Location& location) const;
    std::string show(const Location& location, Word value);

    Fiber explorer_;
    std::array<Thread, max_threads> threads_;
    unsigned self_ = 0;
    unsigned steps_ = 0;
    Bounds left_{};
    Strategy* strategy_ = nullptr;
    bool in_predicate_ = false;
    bool cut_ = false;
    bool tracing_ = false;
    bool failed_ = false;
    std::string failure_;
    std::string choices_;

    std::vector<Location> locations_;  // the first `used_` are this execution's
    std::size_t used_ = 0;
    std::vector<std::uint32_t> table_;  // address to location: open addressing, index + 1
    std::vector<std::uint32_t> filled_;
    std::vector<Word> pointers_;  // in order of appearance, for the trace
};

}  // namespace detail
}  // namespace model
