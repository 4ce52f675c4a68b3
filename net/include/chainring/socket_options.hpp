// SPDX-License-Identifier: BSL-1.0
// SocketOptions: what may be set on a connection, or on a Listener for all of its connections, which inherit it at no
// cost. TcpInfo: what the kernel knows of a connection.
//
// Always set, without asking: TCP_NODELAY (bytes that were sent do not wait for company), CLOEXEC, SO_REUSEADDR on
// listening sockets (a server restarts at once). Sends never raise SIGPIPE. Options of TCP are ignored on unix sockets;
// a value that the kernel refuses is the error of what was to be made.
#pragma once

#include <chainring/config.hpp>
#include <chainring/task_context.hpp>

#include <chrono>
#include <cstdint>

CHAINRING_BEGIN_NAMESPACE

// Trivially copyable, so that it may be written inside a co_await expression. 0 leaves the kernel's default.
struct SocketOptions {
    // Probes of an idle connection, which find a peer that went without a word (TCP): how long it has been quiet before
    // the first one (0: no probes), how long until the next, and how many without an answer end it with ETIMEDOUT.
    std::chrono::seconds keepalive_idle{0};
    std::chrono::seconds keepalive_interval{0};
    unsigned keepalive_count = 0;
    // How long sent bytes may wait for the peer's acknowledgement until the connection ends with ETIMEDOUT
    // (TCP_USER_TIMEOUT; RFC 5482); the kernel's default is some 15 minutes.
    std::chrono::milliseconds user_timeout{0};
    // Bytes of the kernel's buffers. The kernel doubles them for its own needs, caps them at net.core.wmem_max and
    // rmem_max, and no longer adjusts them by itself.
    unsigned send_buffer = 0;
    unsigned receive_buffer = 0;
};

struct TcpInfo {
    Duration round_trip{};            // smoothed
    Duration round_trip_variation{};  // mean deviation
    std::uint64_t bytes_sent = 0;     // that the peer has acknowledged; the one that connected counts its SYN
    std::uint64_t bytes_received = 0;
    std::uint32_t retransmits = 0;     // segments, since the connection was made
    std::uint32_t unacknowledged = 0;  // segments on their way now
};

CHAINRING_END_NAMESPACE
