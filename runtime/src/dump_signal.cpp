// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/dump_signal.hpp"

#include <chainring/trap.hpp>

#include "runtime/src/runtime_state.hpp"

#include <array>
#include <cerrno>
#include <mutex>
#include <signal.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

struct Target {
    std::atomic<sem_t*> asked{nullptr};  // null: free
    std::atomic<int> signal{0};
    struct sigaction before {};
};
std::array<Target, 16> targets{};
std::mutex registration;
std::atomic<int> handlers_inside{0};  // a semaphore goes only after the handlers that may have seen it

extern "C" void chainring_on_dump_signal(int signal) {
    const int saved = errno;
    handlers_inside.fetch_add(1, std::memory_order_seq_cst);
    for (auto& target : targets)
        if (sem_t* asked = target.asked.load(std::memory_order_seq_cst); asked && target.signal.load() == signal)
            ::sem_post(asked);
    handlers_inside.fetch_sub(1, std::memory_order_release);
    errno = saved;
}

// With the mutex held. The handler that was there before all of ours comes back with the last of them.
void unregister(Target& leaving) noexcept {
    leaving.asked.store(nullptr, std::memory_order_seq_cst);
    const int signal = leaving.signal.load();
    Target* other = nullptr;
    for (auto& target : targets)
        if (target.asked.load() && target.signal.load() == signal) other = &target;
    if (!other)
        ::sigaction(signal, &leaving.before, nullptr);
    else if (leaving.before.sa_handler != chainring_on_dump_signal)
        other->before = leaving.before;
}

}  // namespace

DumpSignal::DumpSignal(RuntimeState& state, int signal) : state_(state), signal_(signal) {
    if (signal_ == 0) return;
    ::sem_init(&asked_, 0, 0);
    const std::lock_guard lock(registration);
    Target* free = nullptr;
    for (auto& target : targets)
        if (!target.asked.load()) free = &target;
    CHAINRING_REQUIRE(free, "more than 16 Runtimes of one process have a dump_signal");
    struct sigaction action {};
    action.sa_handler = chainring_on_dump_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    free->signal.store(signal_);
    free->asked.store(&asked_, std::memory_order_seq_cst);
    ::sigaction(signal_, &action, &free->before);
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before);
    try {
        thread_ = std::thread([this] { serve(); });
    } catch (...) {
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        unregister(*free);
        ::sem_destroy(&asked_);
        throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

DumpSignal::~DumpSignal() {
    if (signal_ == 0) return;
    {
        const std::lock_guard lock(registration);
        for (auto& target : targets)
            if (target.asked.load() == &asked_) unregister(target);
        while (handlers_inside.load(std::memory_order_seq_cst) > 0) std::this_thread::yield();
    }
    ending_.store(true, std::memory_order_release);
    ::sem_post(&asked_);
    thread_.join();
    ::sem_destroy(&asked_);
}

void DumpSignal::serve() noexcept {
    for (;;) {
        while (::sem_wait(&asked_) < 0 && errno == EINTR) {
        }
        if (ending_.load(std::memory_order_acquire)) return;
        std::size_t tasks = 0;
        const std::string text = state_.report_tasks(~std::size_t{0}, &tasks);
        state_.log_lines("chainring: " + std::to_string(tasks) + " tasks\n" + text);
    }
}

}  // namespace detail
CHAINRING_END_NAMESPACE
