// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/dump_signal.hpp"

#include "runtime/src/runtime_state.hpp"

#include <cerrno>
#include <string>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

DumpSignal::DumpSignal(RuntimeState& state, int signal) : state_(state) {
    if (signal == 0) return;
    ::sem_init(&asked_, 0, 0);
    try {
        const BlockedSignals blocked;
        thread_ = std::thread([this] { serve(); });
    } catch (...) {
        ::sem_destroy(&asked_);
        throw;
    }
    handler_.emplace(
        signal, [](void* asked) noexcept { ::sem_post(static_cast<sem_t*>(asked)); }, &asked_);
}

DumpSignal::~DumpSignal() {
    if (!handler_) return;
    handler_.reset();
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
