// SPDX-License-Identifier: BSL-1.0
// Mischief: everything that a simulated world may do to a program by chance, in one place. Each is allowed by the
// Backend's contract or by the system that it stands for, so that a program has to live with all of it. Numbers are out
// of 1000; with all of them 0, Mischief::none(), the world is well-behaved: everything comes whole, at once, in order.
//
// What is done on purpose, partitions and power cuts, is not here: see Network.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

struct Mischief {
    // Schedule: which worker goes on, and which of its first few tasks is next. Off: each in turn.
    bool shuffle = true;

    // Completions
    unsigned reorder = 500;        // a poll delivers in shuffled order
    unsigned defer = 200;          // a completion that is there is left for the next poll; never all of them
    unsigned short_recv = 200;     // a receive takes 1 byte to what is there
    unsigned short_send = 100;     // a send takes a part though there is room for all: it completes with it, or goes on
    unsigned end_multishot = 50;   // a multishot operation ends with a completion that would not have ended it
    unsigned interrupt = 20;       // it ends without any, with -EINTR
    unsigned no_buffers = 20;      // a receive ends with -ENOBUFS though the pool has some
    unsigned abort_accept = 10;    // a connection that waits to be accepted is gone: ECONNABORTED
    unsigned slow_cancel = 500;    // a cancel takes effect only after a while: what comes first counts
    unsigned beaten_cancel = 300;  // and loses against a success that is there when it does
    Duration slowest_cancel = std::chrono::microseconds(500);

    // Segments
    unsigned split = 200;     // a segment is cut into pieces of 1 byte to all
    unsigned coalesce = 300;  // a segment joins the one that left at the same instant
    unsigned lose = 2;        // a segment arrives late, by its retransmission

    static constexpr Mischief none() noexcept {
        Mischief nothing;
        nothing.shuffle = false;
        nothing.reorder = nothing.defer = nothing.short_recv = nothing.short_send = 0;
        nothing.end_multishot = nothing.interrupt = nothing.no_buffers = nothing.abort_accept = 0;
        nothing.slow_cancel = nothing.beaten_cancel = nothing.split = nothing.coalesce = nothing.lose = 0;
        nothing.slowest_cancel = {};
        return nothing;
    }
};

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
