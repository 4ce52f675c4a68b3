// SPDX-License-Identifier: BSL-1.0
// The trap: how chainring answers a broken contract (two readers on one Link, a scope left without join, a
// started task destroyed). It names the rule and the place on stderr and aborts, in every build: going on
// would mean memory that two owners believe is theirs.
#pragma once

#include <chainring/config.hpp>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// Prints "chainring: trap: RULE (FILE:LINE)" and aborts. `file` may be null when no place is known.
[[noreturn]] void trap(const char* rule, const char* file, unsigned line) noexcept;

}  // namespace detail
CHAINRING_END_NAMESPACE

// Traps with `rule` and the place of the check when `condition` is false.
#define CHAINRING_REQUIRE(condition, rule)                                   \
    do {                                                                     \
        if (!(condition)) [[unlikely]]                                       \
            ::chainring::detail::trap((rule), __FILE__, unsigned(__LINE__)); \
    } while (false)
