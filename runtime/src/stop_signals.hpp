// SPDX-License-Identifier: BSL-1.0
// StopSignals: while it exists, SIGINT and SIGTERM request the stop of a Runtime. Several may exist at once, for
// several Runtimes: a signal reaches all of them. The handlers that were there before come back when the last one goes.
#pragma once

#include <chainring/config.hpp>

CHAINRING_BEGIN_NAMESPACE

class Runtime;

namespace detail {

class StopSignals {
public:
    explicit StopSignals(Runtime* runtime);  // null: does nothing
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

private:
    Runtime* runtime_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
