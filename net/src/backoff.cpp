// SPDX-License-Identifier: BSL-1.0
#include <chainring/backoff.hpp>
#include <chainring/errc.hpp>
#include <chainring/random.hpp>
#include <chainring/resolve.hpp>

#include <algorithm>
#include <cerrno>

CHAINRING_BEGIN_NAMESPACE

std::optional<Duration> Backoff::next() noexcept {
    if (policy_.attempts != 0 && ++failed_ >= policy_.attempts) return std::nullopt;
    using Exact = std::chrono::duration<double, std::nano>;
    const Duration whole = std::min(pause_, policy_.most);
    // Compared before it is converted: what overflows is more than `most`.
    const Exact longer = Exact(whole) * policy_.factor;
    pause_ = longer < Exact(policy_.most) ? std::chrono::duration_cast<Duration>(longer) : policy_.most;
    const double unit = static_cast<double>(random() >> 11) * 0x1p-53;  // less than 1
    return whole - std::chrono::duration_cast<Duration>(Exact(whole) * (policy_.jitter * unit));
}

void Backoff::reset() noexcept {
    pause_ = policy_.first;
    failed_ = 0;
}

bool is_permanent(std::error_code error) noexcept {
    if (error.category() == chainring_category()) return true;
    if (error.category() == resolve_category()) return error == ResolveErrc::not_found;
    if (error.category() != std::system_category() && error.category() != std::generic_category()) return false;
    switch (error.value()) {
        case EACCES:
        case EPERM:
        case EAFNOSUPPORT:
        case EPROTONOSUPPORT:
        case EPROTOTYPE:
        case EINVAL:
        case ENOTSOCK:
            return true;
        default:
            return false;
    }
}

CHAINRING_END_NAMESPACE
