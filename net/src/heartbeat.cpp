// SPDX-License-Identifier: BSL-1.0
#include <chainring/heartbeat.hpp>
#include <chainring/trap.hpp>

#include <algorithm>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

HeartbeatPace::HeartbeatPace(const HeartbeatOptions& options) noexcept
    : options_(options), interval_(options.shortest) {
    CHAINRING_REQUIRE(options.shortest > Duration::zero() && options.shortest <= options.longest,
                      "a Heartbeat's shortest interval lies between zero and its longest");
    CHAINRING_REQUIRE(options.misses > 0, "a Heartbeat bears at least one miss");
}

bool HeartbeatPace::beat(bool heard) noexcept {
    if (heard) {
        missed_ = 0;
        interval_ = interval_ > options_.longest / 2 ? options_.longest : interval_ * 2;
        return true;
    }
    interval_ = std::max(interval_ / 2, options_.shortest);
    return ++missed_ < options_.misses;
}

Task<std::error_code> Heartbeat::watch(Link& link, Outbox outbox, Payload ping) {
    return watch(
        link, std::move(outbox), [](const Payload& same) { return same; }, std::move(ping));
}

CHAINRING_END_NAMESPACE
