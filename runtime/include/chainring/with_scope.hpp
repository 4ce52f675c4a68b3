// SPDX-License-Identifier: BSL-1.0
// with_scope and with_timeout: a scope, and a limit of time, around something awaited.
//
// with_scope(fn, args...) runs fn(Scope&, args...), a Task<T>, and joins the scope on every way out: when fn returns,
// the children are awaited; when it throws, they are cancelled first. Yields fn's value; rethrows fn's exception, else
// the first of a child. fn must be trivially destructible (a function, a lambda without owning captures).
//
//     co_await with_scope([](Scope& scope, Link* link) -> Task<> {
//         scope.spawn(heartbeats, link);
//         co_await talk(link);
//         scope.cancel();
//     }, &link);
//
// with_timeout(task, duration) runs the task and cancels it when it has taken that long. Completes when the task has
// ended: a timeout is a request, and what must not be interrupted is finished. Yields Result<T> (Result<U> for a
// Task<Result<U>>): what the task returned when it ended in time; afterwards Errc::timed_out, except that a
// Task<Result<U>> that has succeeded nonetheless, or failed otherwise than by the cancel, has that returned: a late
// success is not lost. An exception of the task is rethrown.
//
//     auto page = co_await with_timeout(fetch(url), 2s);
//
// Both: on the task that awaits them; a cancel of it reaches what they run.
#pragma once

#include <chainring/config.hpp>
#include <chainring/handle.hpp>
#include <chainring/result.hpp>
#include <chainring/scope.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>

#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

template <class Fn, class... Args>
auto with_scope(Fn fn, Args... args) -> std::invoke_result_t<Fn, Scope&, Args...> {
    static_assert(std::is_trivially_destructible_v<Fn>,
                  "with_scope takes a function or a lambda without owning captures; pass state as further arguments");
    using T = typename std::invoke_result_t<Fn, Scope&, Args...>::value_type;
    Scope scope;
    std::optional<detail::held_t<T>> value;
    std::exception_ptr failure;
    try {
        auto task = std::invoke(fn, scope, std::move(args)...);
        auto result = co_await detail::Held(std::move(task));
        value.emplace(std::move(result));
    } catch (...) {
        failure = std::current_exception();
        scope.cancel();
    }
    try {
        co_await scope.join();
    } catch (...) {
        if (!failure) failure = std::current_exception();
    }
    if (failure) std::rethrow_exception(failure);
    if constexpr (!std::is_void_v<T>) co_return std::move(*value);
}

namespace detail {

template <class T>
Task<> keep_value(Task<T>* task, std::optional<held_t<T>>* value) {
    auto result = co_await Held(std::move(*task));
    value->emplace(std::move(result));
}

template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<Result<T>> : std::true_type {};

}  // namespace detail

template <class T>
Task<detail::flattened_t<T>> with_timeout(Task<T> task, Duration duration) {
    std::optional<detail::held_t<T>> value;
    Scope scope;
    scope.spawn(detail::keep_value<T>, &task, &value);
    co_await scope.join().within(duration);
    if constexpr (detail::IsResult<T>::value) {
        if (scope.timed_out() && !*value && value->error() == Errc::cancelled)
            co_return detail::flattened_t<T>(Errc::timed_out);
        co_return std::move(*value);
    } else {
        if (scope.timed_out()) co_return detail::flattened_t<T>(Errc::timed_out);
        if constexpr (std::is_void_v<T>)
            co_return detail::flattened_t<T>();
        else
            co_return detail::flattened_t<T>(std::move(*value));
    }
}

CHAINRING_END_NAMESPACE
