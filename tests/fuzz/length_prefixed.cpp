// SPDX-License-Identifier: BSL-1.0
#include <chainring/length_prefixed.hpp>

#include "tests/fuzz/framing.hpp"
#include "tests/fuzz/targets.hpp"

void fuzz::fuzz_length_prefixed(Bytes bytes) {
    const Input input(bytes);
    const LengthPrefixed codec(input.limit());
    check_decoding(codec, input.stream(), input.seed());
    for (const Bytes message : input.messages()) check_encoding(codec, message, message.size() <= input.limit());
}
