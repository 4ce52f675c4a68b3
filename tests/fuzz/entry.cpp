// SPDX-License-Identifier: BSL-1.0
// What libFuzzer calls, for the target that CHAINRING_FUZZ_TARGET names.
#include "tests/fuzz/targets.hpp"

#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::CHAINRING_FUZZ_TARGET(std::as_bytes(std::span(data, size)));
    return 0;
}
