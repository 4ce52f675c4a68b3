// SPDX-License-Identifier: BSL-1.0
#include "tests/sim/samples.hpp"

#define main chat_main
#include "samples/chat.cpp"
