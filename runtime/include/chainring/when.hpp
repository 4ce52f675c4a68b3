// SPDX-License-Identifier: BSL-1.0
// when_all and when_any: several awaitables at the same time, each in a child task of its own on this worker, in a
// scope that is joined before they complete: nothing runs on behind the caller's back.
//
//     auto both = co_await when_all(fetch(a), fetch(b));              // both.get<0>(), both.get<1>()
//     auto first = co_await when_any(link.recv(), quit.wait());       // first.index(), first.get<0>()
//
// - Each argument is a Task or an operation (link.recv(), sleep_for(1s), mutex.lock() ...), given as a temporary. Tasks
//   are moved in. Operations are referred to: write the whole in one co_await expression.
// - when_all yields All<T...>: the value of each by position. when_any yields Any<T...>: index() is the one that ended
//   first, which cancels the others; when all have ended, get<I>() is what the I-th ended with. A loser mostly has
//   Errc::cancelled, but one whose success raced the cancel has that success: it is delivered here, not lost. What is
//   not looked at is undone by its destructor (a Guard unlocks, a Link closes), and an operation that lost leaves what
//   it did not take where it was (bytes in the Link, values in the Channel). void is std::monostate.
// - "Ended" is not "succeeded": a recv that fails ends, and wins.
// - An exception of one cancels the others and is rethrown when they have ended (the first, if several).
// - Cancelling the caller cancels all of them; its deadline is theirs too.
// - Of a std::vector<Task<T>>: when_all yields std::vector<T> (nothing for void), when_any AnyOf<T>.
// Memory: a frame for each, and one for the whole.
#pragma once

#include <chainring/config.hpp>
#include <chainring/deadline.hpp>
#include <chainring/handle.hpp>
#include <chainring/scope.hpp>
#include <chainring/task.hpp>
#include <chainring/trap.hpp>

#include <atomic>
#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

// One value for each awaitable, by position. Not a tuple: binding names to parts of an awaited tuple is miscompiled by
// some compilers.
template <class... Ts>
class All {
public:
    template <std::size_t I>
    auto& get() & noexcept {
        return *std::get<I>(values_);
    }
    template <std::size_t I>
    auto&& get() && noexcept {
        return std::move(*std::get<I>(values_));
    }
    template <std::size_t I>
    const auto& get() const& noexcept {
        return *std::get<I>(values_);
    }

    // For when_all and when_any.
    template <std::size_t I, class T>
    void set(T&& value) {
        std::get<I>(values_).emplace(std::forward<T>(value));
    }

private:
    std::tuple<std::optional<detail::held_t<Ts>>...> values_;
};

template <class... Ts>
class Any : public All<Ts...> {
public:
    explicit Any(std::size_t index, All<Ts...>&& values) noexcept : All<Ts...>(std::move(values)), index_(index) {}
    // The position of the one that ended first.
    std::size_t index() const noexcept { return index_; }

private:
    std::size_t index_;
};

// The same for a vector of tasks.
template <class T>
struct AnyOf {
    AnyOf(std::size_t first, std::vector<detail::held_t<T>>&& all) noexcept : index(first), values(std::move(all)) {}
    std::size_t index;
    std::vector<detail::held_t<T>> values;
};

namespace detail {

// What co_await makes of an awaitable of type A.
template <class A>
struct Awaited {};
template <class A>
requires requires(A& awaitable) {
    awaitable.await_resume();
}
struct Awaited<A> {
    using type = decltype(std::declval<A&>().await_resume());
};
template <class T>
struct Awaited<Task<T>> {
    using type = T;
};
template <class T>
struct Awaited<Shielded<T>> {
    using type = T;
};
template <class A>
using awaited_t = typename Awaited<std::remove_cvref_t<A>>::type;
template <class A>
concept Awaitable = requires {
    typename awaited_t<A>;
};

// A Task is kept, an operation, which does not move, is referred to.
template <class A>
using kept_t = std::conditional_t<std::is_move_constructible_v<A>, A, A&&>;

// Which branch ended first; the branches may run on several workers.
class First {
public:
    static constexpr std::size_t none = ~std::size_t{0};
    // acq_rel: index() is read after the join, which orders it; the winner needs no more than to be one.
    bool claim(std::size_t index) noexcept {
        std::size_t expected = none;
        return index_.compare_exchange_strong(expected, index, std::memory_order_acq_rel);
    }
    std::size_t index() const noexcept { return index_.load(std::memory_order_acquire); }

private:
    std::atomic<std::size_t> index_{none};
};

template <std::size_t I, class A, class Values>
Task<> await_branch(A* awaitable, Values* values, Scope* scope, First* first) {
    auto value = co_await Held(std::move(*awaitable));
    values->template set<I>(std::move(value));
    if (first && first->claim(I)) scope->cancel();
}

template <class Values, std::size_t... I, class... As>
void spawn_branches(Scope& scope, Values& values, First* first, std::index_sequence<I...>, As&... awaitables) {
    scope.spawn_all([&] { (scope.spawn(await_branch<I, As, Values>, &awaitables, &values, &scope, first), ...); });
}

template <class... As>
Task<All<awaited_t<As>...>> run_all(As... awaitables) {
    All<awaited_t<As>...> values;
    Scope scope;
    spawn_branches(scope, values, nullptr, std::index_sequence_for<As...>(), awaitables...);
    co_await scope.join();
    co_return values;
}

template <class... As>
Task<Any<awaited_t<As>...>> run_any(As... awaitables) {
    All<awaited_t<As>...> values;
    First first;
    Scope scope;
    spawn_branches(scope, values, &first, std::index_sequence_for<As...>(), awaitables...);
    co_await scope.join();
    co_return Any<awaited_t<As>...>(first.index(), std::move(values));
}

template <class T>
Task<> await_one(Task<T>* task, std::optional<held_t<T>>* value, std::size_t index, Scope* scope, First* first) {
    auto result = co_await Held(std::move(*task));
    value->emplace(std::move(result));
    if (first && first->claim(index)) scope->cancel();
}

template <class T>
Task<std::vector<held_t<T>>> run_each(std::vector<Task<T>> tasks, First* first) {
    std::vector<std::optional<held_t<T>>> values(tasks.size());
    Scope scope;
    scope.spawn_all([&] {
        for (std::size_t index = 0; index < tasks.size(); ++index)
            scope.spawn(await_one<T>, &tasks[index], &values[index], index, &scope, first);
    });
    co_await scope.join();
    std::vector<held_t<T>> all;
    all.reserve(values.size());
    for (auto& value : values) all.push_back(std::move(*value));
    co_return all;
}

}  // namespace detail

template <detail::Awaitable... As>
Task<All<detail::awaited_t<As>...>> when_all(As&&... awaitables) {
    static_assert((!std::is_lvalue_reference_v<As> && ...), "when_all takes temporaries: write std::move(task)");
    return detail::run_all<detail::kept_t<As>...>(std::forward<As>(awaitables)...);
}

template <detail::Awaitable... As>
Task<Any<detail::awaited_t<As>...>> when_any(As&&... awaitables) {
    static_assert(sizeof...(As) > 0, "when_any of nothing would never end");
    static_assert((!std::is_lvalue_reference_v<As> && ...), "when_any takes temporaries: write std::move(task)");
    return detail::run_any<detail::kept_t<As>...>(std::forward<As>(awaitables)...);
}

template <class T>
Task<std::conditional_t<std::is_void_v<T>, void, std::vector<T>>> when_all(std::vector<Task<T>> tasks) {
    auto all = co_await detail::run_each<T>(std::move(tasks), nullptr);
    if constexpr (!std::is_void_v<T>) co_return all;
}

template <class T>
Task<AnyOf<T>> when_any(std::vector<Task<T>> tasks) {
    CHAINRING_REQUIRE(!tasks.empty(), "when_any of nothing would never end");
    detail::First first;
    auto all = co_await detail::run_each<T>(std::move(tasks), &first);
    co_return AnyOf<T>(first.index(), std::move(all));
}

CHAINRING_END_NAMESPACE
