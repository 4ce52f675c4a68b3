// SPDX-License-Identifier: BSL-1.0
#include <chainring/time.hpp>

#include "runtime/src/worker.hpp"

CHAINRING_BEGIN_NAMESPACE

Instant now() noexcept {
    const detail::Worker* worker = detail::Worker::current();
    return worker ? worker->now() : std::chrono::steady_clock::now();
}

namespace detail {

TimedWaiter::TimedWaiter() noexcept {
    cancel = end_early;
    fire = [](TimerNode& node) noexcept {
        auto& self = static_cast<TimedWaiter&>(node);
        self.cancel(self, Wake::timed_out);
    };
}

void TimedWaiter::begin(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept {
    suspend(*this, node, handle);
    if (!limit.given()) return;
    Worker& worker = *task->worker;
    worker.timers().arm(*this, limit.from(worker.now()));
}

void TimedWaiter::finish() noexcept {
    task->worker->timers().cancel(*this);
    detail::resume(*this);
}

void TimedWaiter::end_early(Waiter& waiter, Wake why) noexcept {
    if (waiter.try_claim(why)) static_cast<TimedWaiter&>(waiter).finish();
}

}  // namespace detail

bool Sleep::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (node.context->cancelled) {
        claim.settle(detail::Wake::cancelled);
        return false;
    }
    waits_in = detail::WaitKind::sleep;
    begin(node, handle, limit_);
    return true;
}

Sleep sleep_for(Duration duration) noexcept {
    detail::Limit limit;
    limit.within(duration);
    return Sleep(limit);
}

Sleep sleep_until(Instant instant) noexcept {
    detail::Limit limit;
    limit.until(instant);
    return Sleep(limit);
}

CHAINRING_END_NAMESPACE
