// SPDX-License-Identifier: BSL-1.0
#include <chainring/lines.hpp>

#include "tests/fuzz/framing.hpp"
#include "tests/fuzz/targets.hpp"

void fuzz::fuzz_lines(Bytes bytes) {
    const Input input(bytes);
    const Lines codec(input.limit(), input.flag() ? LineEnding::lf : LineEnding::crlf);
    check_decoding(codec, input.stream(), input.seed());
    for (const Bytes message : input.messages()) {
        const std::string_view text = as_text(message);
        const bool one_line = text.find('\n') == text.npos && !(input.flag() && text.ends_with('\r'));
        check_encoding(codec, message, text.size() <= input.limit() && one_line);
    }
}
