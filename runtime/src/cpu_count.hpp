// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chainring/config.hpp>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// How many CPUs this process may keep busy: its affinity mask, and the quota of its cgroup (version 2) rounded up; at
// least 1.
unsigned usable_cpus() noexcept;

}  // namespace detail
CHAINRING_END_NAMESPACE
