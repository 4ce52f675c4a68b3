// SPDX-License-Identifier: BSL-1.0
// Conversation: a client of something that sends back what it receives. It compares each byte, and connects again when
// its connection has ended, until it has had all its messages back. Rules:
//
//   what comes is a prefix of what was sent, on every connection
//   the end of the stream comes after the last byte, unless the server's process ended meanwhile
#pragma once

#include <chainring/chainring.hpp>

#include "tests/sim/stage.hpp"

#include <cstdint>

enum class Style : std::uint8_t {
    asks,     // a message, its answer, the next message
    streams,  // sends and receives at the same time
    dawdles,  // streams much, and receives slowly
    leaves,   // asks, and goes in the middle of a message
    count
};

struct Conversation {
    Stage* stage = nullptr;
    unsigned number = 0;
    Style style = Style::asks;
    unsigned messages = 0;  // wanted
    unsigned done = 0;
    unsigned connections = 0;
    bool satisfied() const noexcept { return done >= messages; }
};

chainring::Task<> converse(Conversation* self, chainring::Address server);
