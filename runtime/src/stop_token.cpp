// SPDX-License-Identifier: BSL-1.0
#include <chainring/stop_token.hpp>
#include <chainring/trap.hpp>

#include <utility>

CHAINRING_BEGIN_NAMESPACE

StopSource::~StopSource() {
    CHAINRING_REQUIRE(!first_, "a StopSource was destroyed while a wait carries its token");
}

bool StopSource::request_stop() noexcept {
    const std::lock_guard lock(mutex_);
    if (requested_.exchange(true, std::memory_order_acq_rel)) return false;
    // A registered wait cannot end before it has taken the mutex, so its task stays while it is told.
    for (auto* at = first_; at; at = at->next_) detail::stop_wait(*at->waiter_, *at->task_);
    return true;
}

namespace detail {

void StopRegistration<StopToken>::begin(Waiter& waiter, TaskContext& task) noexcept {
    waiter_ = &waiter;
    task_ = &task;
    const std::lock_guard lock(source_.mutex_);
    next_ = std::exchange(source_.first_, this);
    if (next_) next_->previous_ = this;
    if (source_.requested_.load(std::memory_order_relaxed)) stop_wait(waiter, task);
}

void StopRegistration<StopToken>::end() noexcept {
    const std::lock_guard lock(source_.mutex_);
    (previous_ ? previous_->next_ : source_.first_) = next_;
    if (next_) next_->previous_ = previous_;
}

}  // namespace detail

CHAINRING_END_NAMESPACE
