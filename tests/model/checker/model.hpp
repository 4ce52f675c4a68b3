// SPDX-License-Identifier: BSL-1.0
// A stateless model checker for lock-free code that is written over an atomics policy. A test gives explore() (see
// explore.hpp) a body that makes the shared objects, spawns a few threads and joins them; the body is run again and
// again, each time with another schedule and other values for the loads that the C++ memory model leaves a choice.
// The very templates of production are instantiated with the types of this file:
//
//     model::Atomic<T>   for std::atomic<T>; every access is a point where another thread may go on
//     model::Mutex       for std::mutex
//     model::Data<T>     for a plain T that threads hand over: an access that no happens-before orders is a data race
//     model::Parker      for what a sleeping worker waits in (an eventfd, a ring)
//
// What is covered of the C++20 memory model:
// - Each atomic keeps its history. A load may read any store that coherence (read-read, read-write, write-read) and
//   happens-before do not rule out; a relaxed or acquire load reads stale values, a read-modify-write reads the newest.
// - release and acquire join vector clocks, through release sequences of read-modify-writes; a relaxed store ends one.
// - seq_cst: the total order S is the order of execution. A seq_cst load reads no store older than the newest that a
//   seq_cst operation on this object has read or written before it in S. seq_cst gives a load, store or
//   read-modify-write no happens-before beyond acquire and release, and says nothing to operations that are weaker.
// - A failing compare_exchange is a load with its failure order and may read a stale value; a weak one may also fail
//   for no reason.
// - Mutexes, spawn and join synchronise. Parker and wait_until do not.
// - An object's construction has to happen before its use and its uses before its destruction.
// What is not:
// - The modification order of an object is the order of execution, and loads read stores that were executed before:
//   no load buffering, no values out of thin air, no cycle of modification orders against program order (2+2W).
//   Every interleaving is explored, so what is missing needs such reordering.
// - Fences. The library uses none (ThreadSanitizer does not see them); a fence in code under test is ignored.
// - A strong compare_exchange whose newest value matches succeeds. At most 7 stores back are read.
// - consume is acquire; volatile, mixed sizes, wait and notify are not there; T is at most 8 bytes.
#pragma once

#include "tests/model/checker/execution.hpp"

#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace model {

namespace detail {

template <class T>
const char* type_name() {
    static const std::string name = [](std::string_view text) {
        const auto begin = text.find("T = ") + 4;
        return std::string(text.substr(begin, text.find_first_of(";]", begin) - begin));
    }(__PRETTY_FUNCTION__);
    return name.c_str();
}

template <class T>
Word to_word(T value) noexcept {
    Word word = 0;
    std::memcpy(&word, &value, sizeof value);
    return word;
}

template <class T>
T from_word(Word word) noexcept {
    T value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}

}  // namespace detail

// Within a body. Fails the execution, with a trace, unless `condition` holds.
inline void check(bool condition, const char* what) {
    if (!condition) detail::Execution::current().fail(std::string("check: ") + what);
}

// A thread of the model; joined at the latest when the handle goes.
class Thread {
public:
    explicit Thread(unsigned number) noexcept : number_(number) {}
    Thread(Thread&& other) noexcept : number_(std::exchange(other.number_, 0)) {}
    Thread& operator=(Thread&&) = delete;
    ~Thread() {
        if (number_) join();
    }
    void join(const Where& where = Where::current()) {
        detail::Execution::current().join(std::exchange(number_, 0), where);
    }

private:
    unsigned number_;
};

template <class Function>
[[nodiscard]] Thread spawn(Function function, const Where& where = Where::current()) {
    return Thread(detail::Execution::current().spawn(std::function<void()>(std::move(function)), where));
}

// In every loop that waits for another thread: lets the others go on first. Without it such a loop never ends.
inline void yield(const Where& where = Where::current()) {
    detail::Execution::current().yield(where);
}

// Blocks until `condition()` is true; there it may read model objects, of which it sees the newest values.
template <class Condition>
void wait_until(Condition condition, const char* what = "for a condition", const Where& where = Where::current()) {
    detail::Execution::current().wait([](void* subject) { return bool((*static_cast<Condition*>(subject))()); },
                                      &condition, what, where);
}

// The moment of the calling thread's last operation, and whether it happens before the calling thread's next one.
struct Moment {
    unsigned thread;
    std::uint32_t time;
};
inline Moment moment() noexcept {
    const detail::Execution& execution = detail::Execution::current();
    return {execution.self(), execution.clock().at[execution.self()]};
}
inline bool happened_before(Moment moment) noexcept {
    return detail::Execution::current().clock().covers(moment.thread, moment.time);
}

// A line in the trace.
inline void note(const char* text, const Where& where = Where::current()) {
    detail::Execution::current().note(text, where);
}

template <class T>
class Atomic {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(detail::Word));
    using Order = std::memory_order;
    static detail::Execution& run() noexcept { return detail::Execution::current(); }

public:
    using value_type = T;
    static constexpr bool is_always_lock_free = true;

    Atomic(const Where& where = Where::current()) : Atomic(T(), where) {}
    Atomic(T value, const Where& where = Where::current()) {  // implicit, as std::atomic's
        run().create(this, detail::Kind::atomic, detail::type_name<T>(), detail::to_word(value), where);
    }
    Atomic(const Atomic&) = delete;
    Atomic& operator=(const Atomic&) = delete;
    ~Atomic() { run().destroy(this, Where::current()); }

    T load(Order order = Order::seq_cst, const Where& where = Where::current()) const {
        return detail::from_word<T>(run().load(this, order, where));
    }
    void store(T value, Order order = Order::seq_cst, const Where& where = Where::current()) {
        run().store(this, detail::to_word(value), order, where);
    }
    T exchange(T value, Order order = Order::seq_cst, const Where& where = Where::current()) {
        return update([](detail::Word, detail::Word to) { return to; }, value, order, "exchange", where);
    }
    bool compare_exchange_strong(T& expected, T desired, Order success, Order failure,
                                 const Where& where = Where::current()) {
        return exchange_if(expected, desired, success, failure, false, where);
    }
    bool compare_exchange_strong(T& expected, T desired, Order order = Order::seq_cst,
                                 const Where& where = Where::current()) {
        return exchange_if(expected, desired, order, weaker(order), false, where);
    }
    bool compare_exchange_weak(T& expected, T desired, Order success, Order failure,
                               const Where& where = Where::current()) {
        return exchange_if(expected, desired, success, failure, true, where);
    }
    bool compare_exchange_weak(T& expected, T desired, Order order = Order::seq_cst,
                               const Where& where = Where::current()) {
        return exchange_if(expected, desired, order, weaker(order), true, where);
    }

    T fetch_add(T by, Order order = Order::seq_cst,
                const Where& where = Where::current()) requires std::is_integral_v<T> {
        return update([](detail::Word a, detail::Word b) { return in_t(a, b, [](T x, T y) { return T(x + y); }); }, by,
                      order, "fetch_add", where);
    }
    T fetch_sub(T by, Order order = Order::seq_cst,
                const Where& where = Where::current()) requires std::is_integral_v<T> {
        return update([](detail::Word a, detail::Word b) { return in_t(a, b, [](T x, T y) { return T(x - y); }); }, by,
                      order, "fetch_sub", where);
    }
    T fetch_or(T bits, Order order = Order::seq_cst,
               const Where& where = Where::current()) requires std::is_integral_v<T> {
        return update([](detail::Word a, detail::Word b) { return a | b; }, bits, order, "fetch_or", where);
    }
    T fetch_and(T bits, Order order = Order::seq_cst,
                const Where& where = Where::current()) requires std::is_integral_v<T> {
        return update([](detail::Word a, detail::Word b) { return a & b; }, bits, order, "fetch_and", where);
    }
    T fetch_xor(T bits, Order order = Order::seq_cst,
                const Where& where = Where::current()) requires std::is_integral_v<T> {
        return update([](detail::Word a, detail::Word b) { return a ^ b; }, bits, order, "fetch_xor", where);
    }

private:
    template <class Operation>
    static detail::Word in_t(detail::Word a, detail::Word b, Operation operation) {
        return detail::to_word(operation(detail::from_word<T>(a), detail::from_word<T>(b)));
    }
    static constexpr Order weaker(Order order) noexcept {
        if (order == Order::acq_rel) return Order::acquire;
        return order == Order::release ? Order::relaxed : order;
    }
    T update(detail::Word (*apply)(detail::Word, detail::Word), T operand, Order order, const char* name,
             const Where& where) {
        return detail::from_word<T>(run().update(this, apply, detail::to_word(operand), order, name, where));
    }
    bool exchange_if(T& expected, T desired, Order success, Order failure, bool weak, const Where& where) {
        detail::Word word = detail::to_word(expected);
        const bool done = run().compare_exchange(this, word, detail::to_word(desired), success, failure, weak, where);
        expected = detail::from_word<T>(word);
        return done;
    }

    [[maybe_unused]] detail::Word own_address_ = 0;  // objects are told apart by their addresses
};

class Mutex {
    static detail::Execution& run() noexcept { return detail::Execution::current(); }

public:
    explicit Mutex(const Where& where = Where::current()) {
        run().create(this, detail::Kind::mutex, "mutex", 0, where);
    }
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;
    ~Mutex() { run().destroy(this, Where::current()); }

    void lock(const Where& where = Where::current()) { run().lock(this, where); }
    bool try_lock(const Where& where = Where::current()) { return run().try_lock(this, where); }
    void unlock(const Where& where = Where::current()) { run().unlock(this, where); }

private:
    [[maybe_unused]] detail::Word own_address_ = 0;
};

// Behaves as a T. Its accesses are no scheduling points: a race is seen in the clocks, whatever the schedule.
template <class T>
class Data {
    static detail::Execution& run() noexcept { return detail::Execution::current(); }

public:
    Data(const Where& where = Where::current()) : Data(T(), where) {}
    Data(T value, const Where& where = Where::current()) : value_(std::move(value)) {
        run().create(this, detail::Kind::data, detail::type_name<T>(), 0, where);
    }
    Data(const Data& other, const Where& where = Where::current()) : Data(other.get(where), where) {}
    ~Data() { run().destroy(this, Where::current()); }

    Data& operator=(const Data& other) {
        set(other.get(Where{}), Where{});
        return *this;
    }
    Data& operator=(T value) {
        set(std::move(value), Where{});
        return *this;
    }
    operator T() const { return get(Where{}); }  // a conversion knows no place
    T operator->() const requires std::is_pointer_v<T> { return get(); }

    T get(const Where& where = Where::current()) const {
        run().read_data(this, where);
        return value_;
    }
    void set(T value, const Where& where = Where::current()) {
        run().write_data(this, where);
        value_ = std::move(value);
    }

private:
    T value_;
};

// What a worker sleeps in. A wake that comes first is kept, and two are one, as in an eventfd. It orders nothing.
class Parker {
public:
    void park(const char* who = "parked", const Where& where = Where::current()) {
        detail::Execution::current().wait([](void* self) { return static_cast<Parker*>(self)->woken_; }, this, who,
                                          where);
        woken_ = false;
    }
    void wake(const Where& where = Where::current()) {
        detail::Execution::current().event();
        detail::Execution::current().note("wakes the parked one", where);
        woken_ = true;
        ++wakes_;
    }
    unsigned wakes() const noexcept { return wakes_; }

private:
    bool woken_ = false;
    unsigned wakes_ = 0;
};

}  // namespace model
