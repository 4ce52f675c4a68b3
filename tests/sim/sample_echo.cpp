// SPDX-License-Identifier: BSL-1.0
#include "tests/sim/samples.hpp"

#define main echo_main
#include "samples/echo.cpp"
