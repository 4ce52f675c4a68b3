// SPDX-License-Identifier: BSL-1.0
// SignalHandler: while it exists, a signal calls call(object) in a signal handler. Several may exist at once, for the
// same signal, too: it reaches all of them. The handler that was there before comes back when the last one of the
// signal goes. Once it is destroyed, the object is used no more.
//
// BlockedSignals: while it exists, the calling thread has signals blocked. A thread that is started meanwhile has them
// blocked for good.
#pragma once

#include <chainring/config.hpp>

#include <cstddef>
#include <initializer_list>
#include <signal.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class SignalHandler {
public:
    using Call = void (*)(void* object) noexcept;  // async-signal-safe
    SignalHandler(int signal, Call call, void* object) noexcept;
    SignalHandler(const SignalHandler&) = delete;
    SignalHandler& operator=(const SignalHandler&) = delete;
    ~SignalHandler();

private:
    std::size_t place_;
};

class BlockedSignals {
public:
    BlockedSignals() noexcept;  // all of them
    explicit BlockedSignals(std::initializer_list<int> signals) noexcept;
    BlockedSignals(const BlockedSignals&) = delete;
    BlockedSignals& operator=(const BlockedSignals&) = delete;
    ~BlockedSignals();

private:
    sigset_t before_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
