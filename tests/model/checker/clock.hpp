// SPDX-License-Identifier: BSL-1.0
// Vector clocks: which events of which model thread happen before a point.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace model {

inline constexpr unsigned max_threads = 6;  // the body and five that it spawns

namespace detail {

struct Clock {
    std::array<std::uint32_t, max_threads> at{};

    void join(const Clock& other) noexcept {
        for (unsigned i = 0; i < max_threads; ++i) at[i] = std::max(at[i], other.at[i]);
    }
    bool covers(unsigned thread, std::uint32_t time) const noexcept { return at[thread] >= time; }
};

}  // namespace detail
}  // namespace model
