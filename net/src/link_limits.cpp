// SPDX-License-Identifier: BSL-1.0
#include "net/src/link_limits.hpp"

#include "net/src/link_state.hpp"

#include <memory>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

LinkLimits::LinkLimits(LinkState& of) noexcept {
    idle.link = force.link = &of;
    idle.fire = [](TimerNode& node) noexcept { static_cast<Idle&>(static_cast<RenewedTimer&>(node)).link->on_idle(); };
    force.fire = [](TimerNode& node) noexcept { static_cast<Force&>(node).link->abort(); };
}

// ---- any thread

LinkLimits& LinkState::limits() {
    LinkLimits* made = limits_.load(std::memory_order_acquire);
    if (made) return *made;
    auto fresh = std::make_unique<LinkLimits>(*this);
    // acq_rel: home sees it whole; where another task has made one meanwhile, that is it.
    if (limits_.compare_exchange_strong(made, fresh.get(), std::memory_order_acq_rel)) return *fresh.release();
    return *made;
}

void LinkState::close_when_idle(Duration duration, IdleMeans means) {
    LinkLimits& to = limits();
    to.asked_idle.store(duration.count(), std::memory_order_relaxed);
    to.asked_means.store(means, std::memory_order_relaxed);
    signal(remote_idle);  // publishes them
}

void LinkState::force_close_after(Duration duration) {
    limits().asked_force.store(duration.count(), std::memory_order_relaxed);
    signal(remote_force);
}

// ---- home

void LinkState::take_limits(std::uint8_t bits) noexcept {
    if (phase_ >= Phase::ending) return;
    LinkLimits& to = *limits_.load(std::memory_order_acquire);
    if (bits & remote_force) {
        const Duration duration(to.asked_force.load(std::memory_order_relaxed));
        home().timers().arm(to.force, after(home().now(), duration));
    }
    if (!(bits & remote_idle) || phase_ != Phase::open) return;
    to.idle_for.within(Duration(to.asked_idle.load(std::memory_order_relaxed)));
    idle_on_ =
        to.asked_means.load(std::memory_order_relaxed) == IdleMeans::nothing_received ? received : received | sent;
    if (idle_on_ & sent) expect_sent();
    renew_idle();
}

void LinkState::renew_idle() noexcept {
    LinkLimits& to = *limits_.load(std::memory_order_relaxed);
    home().renew(to.idle, to.idle_for);
}

void LinkState::on_idle() noexcept {
    if (phase_ != Phase::open) return;
    if (home().timers().passed(limits_.load(std::memory_order_relaxed)->idle)) close_gently(Wake::timed_out);
}

void LinkState::cancel_limits() noexcept {
    idle_on_ = 0;
    LinkLimits* limits = limits_.load(std::memory_order_acquire);
    if (!limits) return;
    home().cancel(limits->idle);
    home().timers().cancel(limits->force);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
