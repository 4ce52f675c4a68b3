// SPDX-License-Identifier: BSL-1.0
// The codec that docs/framing.md shows.
#include "tests/fuzz/framing.hpp"
#include "tests/fuzz/targets.hpp"

#include <tagged_frame.hpp>

void fuzz::fuzz_tagged_frame(Bytes bytes) {
    const Input input(bytes);
    const TaggedFrame codec("RPC0");
    check_decoding(codec, input.stream(), input.seed());
    for (const Bytes message : input.messages())
        check_encoding(codec, message, message.size() <= codec.max_frame() - 12);
}
