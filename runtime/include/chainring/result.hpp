// SPDX-License-Identifier: BSL-1.0
// Result<T>: a value or a std::error_code, in the manner of C++23's std::expected<T, std::error_code>. It is what
// every I/O operation yields; none of them throws. One object, never a tuple: some GCC releases miscompile a
// structured binding of an owning tuple that comes out of a co_await (GCC bug 124584).
#pragma once

#include <chainring/config.hpp>
#include <chainring/errc.hpp>
#include <chainring/trap.hpp>

#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {
// Throws std::system_error whose what() reads "FILE:LINE: MESSAGE".
[[noreturn]] void throw_bad_result(std::error_code error, const char* file, unsigned line);
}  // namespace detail

template <class T>
class [[nodiscard]] Result {
public:
    using value_type = T;

    Result(T value) noexcept(std::is_nothrow_move_constructible_v<T>) {
        ::new (static_cast<void*>(&value_)) T(std::move(value));
        has_value_ = true;
    }
    Result(std::error_code error) noexcept : error_(error) {}
    Result(Errc errc) noexcept : error_(make_error_code(errc)) {}

    Result(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>) { take(std::move(other)); }
    Result& operator=(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>) {
        if (this != &other) {
            destroy();
            take(std::move(other));
        }
        return *this;
    }
    ~Result() { destroy(); }

    explicit operator bool() const noexcept { return has_value_; }
    bool has_value() const noexcept { return has_value_; }

    // The value. Traps when there is none: test first.
    T& operator*() & noexcept {
        check();
        return value_;
    }
    const T& operator*() const& noexcept {
        check();
        return value_;
    }
    T&& operator*() && noexcept {
        check();
        return std::move(value_);
    }
    T* operator->() noexcept {
        check();
        return &value_;
    }
    const T* operator->() const noexcept {
        check();
        return &value_;
    }

    // The value, or std::system_error naming the caller's file and line.
    T& value(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) & {
        if (!has_value_) detail::throw_bad_result(error_, file, line);
        return value_;
    }
    T&& value(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) && {
        if (!has_value_) detail::throw_bad_result(error_, file, line);
        return std::move(value_);
    }

    // The error; a default (falsy) error_code when there is a value.
    std::error_code error() const noexcept { return has_value_ ? std::error_code() : error_; }

private:
    void check() const noexcept { CHAINRING_REQUIRE(has_value_, "a Result without a value was dereferenced"); }
    void take(Result&& other) {
        has_value_ = false;
        if (other.has_value_) {
            ::new (static_cast<void*>(&value_)) T(std::move(other.value_));
            has_value_ = true;
        } else {
            ::new (static_cast<void*>(&error_)) std::error_code(other.error_);
        }
    }
    void destroy() noexcept {
        if (has_value_) value_.~T();
    }

    union {
        T value_;
        std::error_code error_;
    };
    bool has_value_ = false;
};

template <>
class [[nodiscard]] Result<void> {
public:
    using value_type = void;

    Result() noexcept = default;
    Result(std::error_code error) noexcept : error_(error) {}
    Result(Errc errc) noexcept : error_(make_error_code(errc)) {}
    Result(Result&&) noexcept = default;
    Result& operator=(Result&&) noexcept = default;

    explicit operator bool() const noexcept { return !error_; }
    bool has_value() const noexcept { return !error_; }
    void value(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) const {
        if (error_) detail::throw_bad_result(error_, file, line);
    }
    std::error_code error() const noexcept { return error_; }

private:
    std::error_code error_;
};

CHAINRING_END_NAMESPACE
