// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/cpu_count.hpp"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <sched.h>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

// Documentation/admin-guide/cgroup-v2.rst: cpu.max is "QUOTA PERIOD" in microseconds, QUOTA "max" for none.
unsigned cgroup_cpus() noexcept {
    constexpr unsigned unlimited = std::numeric_limits<unsigned>::max();
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/sys/fs/cgroup/cpu.max", "re"), std::fclose);
    if (!file) return unlimited;
    unsigned long long quota = 0;
    unsigned long long period = 0;
    if (std::fscanf(file.get(), "%llu %llu", &quota, &period) != 2 || period == 0) return unlimited;
    return static_cast<unsigned>(std::max(1ULL, (quota + period - 1) / period));
}

}  // namespace

unsigned usable_cpus() noexcept {
    cpu_set_t set;
    CPU_ZERO(&set);
    unsigned count = 1;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) count = static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
    return std::min(count, cgroup_cpus());
}

}  // namespace detail
CHAINRING_END_NAMESPACE
