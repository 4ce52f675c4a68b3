// SPDX-License-Identifier: BSL-1.0
#include <chainring/deadline.hpp>
#include <chainring/reconnecting_link.hpp>
#include <chainring/runtime.hpp>

#include <cerrno>
#include <optional>

CHAINRING_BEGIN_NAMESPACE

ReconnectingLink::ReconnectingLink(detail::DialTarget target, const ReconnectOptions& options)
    : target_(std::move(target)), options_(options), backoff_(options.retry) {}

ReconnectingLink::ReconnectingLink(std::string_view target, ReconnectOptions options)
    : ReconnectingLink(detail::DialTarget(target), options) {}

ReconnectingLink::ReconnectingLink(std::span<const Address> addresses, ReconnectOptions options)
    : ReconnectingLink(detail::DialTarget(addresses), options) {}

ReconnectingLink::ReconnectingLink(const Address& address, ReconnectOptions options)
    : ReconnectingLink(std::span(&address, 1), options) {}

// One attempt, within its own limit. When that has ended it, and not a deadline of the caller's, it is as if the kernel
// had given up.
Task<Result<Link>> ReconnectingLink::attempt() {
    const Instant outer = Deadline::current();
    const Instant limit = detail::after(now(), options_.attempt_limit);
    std::optional<Deadline> deadline;
    if (limit < outer) deadline.emplace(limit);
    auto link = co_await detail::dial_once(target_, options_.head_start);
    if (!link && link.error() == Errc::timed_out && limit < outer)
        co_return std::error_code(ETIMEDOUT, std::system_category());
    co_return std::move(link);
}

Task<Result<Link>> ReconnectingLink::connect() {
    std::error_code last;  // none: there was a session
    bool pauses = was_connected_;
    if (was_connected_ && now() - connected_at_ >= options_.retry.lasting) backoff_.reset();
    for (;;) {
        if (pauses) {
            const std::optional<Duration> pause = backoff_.next();
            if (!pause) co_return last ? last : std::error_code(ECONNABORTED, std::system_category());
            const auto waited = co_await detail::pause_dialling(*pause);
            if (!waited) co_return waited.error();
        }
        auto link = co_await attempt();
        if (link) {
            was_connected_ = true;
            connected_at_ = now();
            co_return std::move(link);
        }
        last = link.error();
        if (last.category() == chainring_category() || (is_permanent(last) && !was_connected_)) co_return last;
        pauses = true;
    }
}

CHAINRING_END_NAMESPACE
