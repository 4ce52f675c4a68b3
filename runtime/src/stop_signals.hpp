// SPDX-License-Identifier: BSL-1.0
// StopSignals: while it exists, SIGINT and SIGTERM request the stop of a Runtime.
#pragma once

#include <chainring/config.hpp>
#include <chainring/runtime.hpp>

#include "runtime/src/signal_handler.hpp"

#include <signal.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class StopSignals {
public:
    explicit StopSignals(Runtime& runtime) noexcept
        : interrupt_(SIGINT, request, &runtime), terminate_(SIGTERM, request, &runtime) {}

private:
    static void request(void* runtime) noexcept { static_cast<Runtime*>(runtime)->request_stop(); }
    SignalHandler interrupt_;
    SignalHandler terminate_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
