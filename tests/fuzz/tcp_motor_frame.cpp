// SPDX-License-Identifier: BSL-1.0
#include <chainring/tcp_motor_frame.hpp>

#include "tests/fuzz/framing.hpp"
#include "tests/fuzz/targets.hpp"

void fuzz::fuzz_tcp_motor_frame(Bytes bytes) {
    const Input input(bytes);
    const TcpMotorFrame codec(input.limit());
    check_decoding(codec, input.stream(), input.seed());
    for (const Bytes message : input.messages())
        check_encoding(codec, message, message.size() + 4 <= codec.max_frame());
}
