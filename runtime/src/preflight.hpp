// SPDX-License-Identifier: BSL-1.0
// The judgement of preflight(), apart from where its numbers come from.
#pragma once

#include <chainring/preflight.hpp>

#include <cstdint>
#include <optional>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// As the kernel has them; none: it could not be read.
struct MachineLimits {
    std::uint64_t soft_limit = UINT64_MAX;  // of open files, after it was raised
    std::uint64_t hard_limit = UINT64_MAX;
    std::optional<std::uint64_t> nr_open;   // the most that a hard limit can be
    std::optional<std::uint64_t> file_max;  // of all processes together
    std::optional<std::uint64_t> somaxconn;
    std::optional<std::uint64_t> first_port;  // those that connect() chooses from
    std::optional<std::uint64_t> last_port;
};

std::uint64_t descriptors_wanted(const PreflightOptions& options) noexcept;
std::vector<Finding> judge(const MachineLimits& limits, const PreflightOptions& options);

}  // namespace detail
CHAINRING_END_NAMESPACE
