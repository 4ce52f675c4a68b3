// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/safepoint.hpp"

#include <algorithm>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

void Safepoint::run_on(unsigned worker, Place next) noexcept {
    std::unique_lock lock(mutex_);
    if (wanted()) {
        places_[worker] = Place::safe;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !wanted(); });
    }
    places_[worker] = next;
}

void Safepoint::leave(unsigned worker) noexcept {
    run_on(worker, Place::absent);
    changed_.notify_all();
}

void Safepoint::begin(unsigned own) noexcept {
    if (own != Pause::no_worker) {
        const std::lock_guard lock(mutex_);
        places_[own] = Place::safe;
        changed_.notify_all();
    }
    turn_.lock();
    const std::lock_guard lock(mutex_);
    wanted_.store(true, std::memory_order_relaxed);
}

void Safepoint::await_all(Duration patience) noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience,
                      [this] { return std::find(places_.begin(), places_.end(), Place::running) == places_.end(); });
}

void Safepoint::end(unsigned own) noexcept {
    {
        const std::lock_guard lock(mutex_);
        wanted_.store(false, std::memory_order_relaxed);
        changed_.notify_all();
    }
    turn_.unlock();
    if (own != Pause::no_worker) run_on(own, Place::running);
}

bool Safepoint::Pause::holds(unsigned worker) const noexcept {
    const std::lock_guard lock(safepoint_.mutex_);
    return safepoint_.places_[worker] != Place::running;
}

}  // namespace detail
CHAINRING_END_NAMESPACE
