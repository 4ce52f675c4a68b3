// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/signal_handler.hpp"

#include <chainring/trap.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <pthread.h>
#include <thread>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

// Written under the mutex, read by the handler: lock-free atomics, so they may be read there.
struct Target {
    std::atomic<SignalHandler::Call> call{nullptr};  // null: free; set last
    std::atomic<void*> object{nullptr};
    std::atomic<int> signal{0};
    struct sigaction before {};
};
std::array<Target, 48> targets{};
std::mutex registration;
std::atomic<int> handlers_inside{0};  // an object goes only after the handlers that may have seen it

extern "C" void chainring_on_signal(int signal) {
    const int saved = errno;
    handlers_inside.fetch_add(1, std::memory_order_seq_cst);
    for (const auto& target : targets)
        if (const auto call = target.call.load(std::memory_order_seq_cst); call && target.signal.load() == signal)
            call(target.object.load());
    handlers_inside.fetch_sub(1, std::memory_order_release);
    errno = saved;
}

}  // namespace

SignalHandler::SignalHandler(int signal, Call call, void* object) noexcept : place_(0) {
    const std::lock_guard lock(registration);
    while (place_ < targets.size() && targets[place_].call.load()) ++place_;
    CHAINRING_REQUIRE(place_ < targets.size(), "more than 16 Runtimes of one process handle signals");
    Target& target = targets[place_];
    target.object.store(object);
    target.signal.store(signal);
    target.call.store(call, std::memory_order_seq_cst);
    struct sigaction action {};
    action.sa_handler = chainring_on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    ::sigaction(signal, &action, &target.before);
}

SignalHandler::~SignalHandler() {
    const std::lock_guard lock(registration);
    Target& leaving = targets[place_];
    leaving.call.store(nullptr, std::memory_order_seq_cst);
    const int signal = leaving.signal.load();
    Target* other = nullptr;
    for (auto& target : targets)
        if (target.call.load() && target.signal.load() == signal) other = &target;
    if (!other)
        ::sigaction(signal, &leaving.before, nullptr);
    else if (leaving.before.sa_handler != chainring_on_signal)
        other->before = leaving.before;
    while (handlers_inside.load(std::memory_order_seq_cst) > 0) std::this_thread::yield();
}

BlockedSignals::BlockedSignals() noexcept {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before_);
}

BlockedSignals::BlockedSignals(std::initializer_list<int> signals) noexcept {
    sigset_t chosen;
    sigemptyset(&chosen);
    for (const int signal : signals) sigaddset(&chosen, signal);
    ::pthread_sigmask(SIG_BLOCK, &chosen, &before_);
}

BlockedSignals::~BlockedSignals() {
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
