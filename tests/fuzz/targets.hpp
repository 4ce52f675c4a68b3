// SPDX-License-Identifier: BSL-1.0
// The fuzz targets. Each takes any input, and ends the process with a message if it finds a fault.
#pragma once

#include <cstddef>
#include <span>

namespace fuzz {

void fuzz_length_prefixed(std::span<const std::byte> input);
void fuzz_lines(std::span<const std::byte> input);
void fuzz_tagged_frame(std::span<const std::byte> input);
void fuzz_tcp_motor_frame(std::span<const std::byte> input);

}  // namespace fuzz
