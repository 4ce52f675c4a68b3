// SPDX-License-Identifier: BSL-1.0
// Fiber: a stack of its own that the one operating-system thread of the checker can be switched to.
//
// Why fibers and not threads that hand over a baton: an execution of a model test takes a few microseconds and a
// hundred thousand of them are run; a switch by futex costs more than the execution. ucontext is in the C library for
// every processor; its system call for the signal mask (a tenth of a microsecond) is paid only where the schedule
// changes threads, for the running fiber itself decides who goes on. AddressSanitizer and ThreadSanitizer are told of
// each switch.
#pragma once

#include <cstddef>
#include <memory>
#include <ucontext.h>

namespace model::detail {

class Fiber {
public:
    Fiber() noexcept;                 // the stack of the caller, to come back to
    explicit Fiber(void (*entry)());  // `entry` never returns
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
    ~Fiber();

    // Leaves `from`, which is running, and goes on in `to` where that one left off.
    static void change(Fiber& from, Fiber& to) noexcept;

private:
    static constexpr std::size_t stack_size = std::size_t{256} * 1024;
    static void start() noexcept;
    static void arrived() noexcept;

    ucontext_t context_{};
    std::unique_ptr<std::byte[]> stack_;
    void (*entry_)() = nullptr;
    // For the sanitizers:
    [[maybe_unused]] const void* bottom_ = nullptr;
    [[maybe_unused]] std::size_t size_ = 0;
    [[maybe_unused]] void* fake_stack_ = nullptr;
    [[maybe_unused]] void* tsan_ = nullptr;
};

}  // namespace model::detail
