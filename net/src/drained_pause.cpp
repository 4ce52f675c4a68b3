// SPDX-License-Identifier: BSL-1.0
#include "net/src/drained_pause.hpp"

#include "runtime/src/worker.hpp"

CHAINRING_BEGIN_NAMESPACE
namespace detail {

DrainedPause::DrainedPause(Duration duration) noexcept : limit_(duration) {
    waits_in = WaitKind::sleep;
    cancel = end;
}

bool DrainedPause::start(FrameNode& node, std::coroutine_handle<> handle) noexcept {
    TaskContext& asking = *node.context;
    Worker& worker = *asking.worker();
    if (asking.is_cancelled() || worker.draining()) {
        claim.settle(asking.is_cancelled() ? Wake::cancelled : Wake::shutting_down);
        return false;
    }
    const Instant until = limit_.from(worker.now());
    cut_short_ = asking.deadline < until;
    limit_.until(until);
    watch_.emplace(worker, *this);
    begin(node, handle, limit_);
    return true;
}

// On the worker where the wait began: the timer, a cancel, or the drain.
void DrainedPause::end(Waiter& waiter, Wake why) noexcept {
    auto& self = static_cast<DrainedPause&>(waiter);
    if (!self.try_claim(why)) return;
    self.watch_.reset();
    self.finish();
}

void DrainedPause::Watch::on_stop(Stop stop) noexcept {
    if (stop == Stop::drain) end(pause_, Wake::shutting_down);  // from here on this Watch is gone
}

Result<void> DrainedPause::await_resume() const noexcept {
    if (outcome() == Wake::timed_out && !cut_short_) return {};
    return error_of(outcome());
}

}  // namespace detail
CHAINRING_END_NAMESPACE
