// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/stop_signals.hpp"

#include <chainring/runtime.hpp>
#include <chainring/trap.hpp>

#include <array>
#include <atomic>
#include <mutex>
#include <signal.h>
#include <thread>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

// Written under the mutex, read by the handler: an atomic pointer is lock-free, so it may be read there.
std::array<std::atomic<Runtime*>, 16> targets{};
std::mutex registration;
int registered = 0;
struct sigaction old_interrupt;
struct sigaction old_terminate;

std::atomic<int> handlers_inside{0};  // a Runtime goes only after the handlers that may have seen it

extern "C" void chainring_on_stop_signal(int) {
    handlers_inside.fetch_add(1, std::memory_order_seq_cst);
    for (const auto& target : targets)
        if (Runtime* runtime = target.load(std::memory_order_seq_cst)) runtime->request_stop();
    handlers_inside.fetch_sub(1, std::memory_order_release);
}

}  // namespace

StopSignals::StopSignals(Runtime* runtime) : runtime_(runtime) {
    if (!runtime_) return;
    const std::lock_guard lock(registration);
    bool placed = false;
    for (auto& target : targets) {
        Runtime* none = nullptr;
        if (target.compare_exchange_strong(none, runtime_)) {
            placed = true;
            break;
        }
    }
    CHAINRING_REQUIRE(placed, "more than 16 Runtimes of one process handle signals");
    if (registered++ > 0) return;
    struct sigaction action {};
    action.sa_handler = chainring_on_stop_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGINT, &action, &old_interrupt);
    ::sigaction(SIGTERM, &action, &old_terminate);
}

StopSignals::~StopSignals() {
    if (!runtime_) return;
    const std::lock_guard lock(registration);
    for (auto& target : targets) {
        Runtime* mine = runtime_;
        if (target.compare_exchange_strong(mine, nullptr)) break;
    }
    while (handlers_inside.load(std::memory_order_seq_cst) > 0) std::this_thread::yield();
    if (--registered > 0) return;
    ::sigaction(SIGINT, &old_interrupt, nullptr);
    ::sigaction(SIGTERM, &old_terminate, nullptr);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
