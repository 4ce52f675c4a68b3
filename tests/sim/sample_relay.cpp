// SPDX-License-Identifier: BSL-1.0
#include "tests/sim/samples.hpp"

#undef stderr
#define stderr nowhere()
#define main relay_main
#include "samples/relay.cpp"
