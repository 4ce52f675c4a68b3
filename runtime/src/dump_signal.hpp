// SPDX-License-Identifier: BSL-1.0
// While it exists, a signal writes the task dump of one Runtime to its log. A thread of its own does the work, for the
// workers may be what hangs; it exists only when the option asks for it, and sleeps.
#pragma once

#include <chainring/config.hpp>

#include "runtime/src/signal_handler.hpp"

#include <atomic>
#include <optional>
#include <semaphore.h>
#include <thread>

CHAINRING_BEGIN_NAMESPACE

class RuntimeState;

namespace detail {

class DumpSignal {
public:
    // Signal 0: nothing. Throws std::system_error when there can be no further thread.
    DumpSignal(RuntimeState& state, int signal);
    DumpSignal(const DumpSignal&) = delete;
    DumpSignal& operator=(const DumpSignal&) = delete;
    ~DumpSignal();

private:
    void serve() noexcept;

    RuntimeState& state_;
    sem_t asked_{};                    // posted by the signal handler, which may do little else
    std::atomic<bool> ending_{false};  // written before the last post
    std::thread thread_;
    std::optional<SignalHandler> handler_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
