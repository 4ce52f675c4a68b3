// SPDX-License-Identifier: BSL-1.0
//
// A connection of the load generator, as both of its engines (load_epoll.h, load_uring.h) see it.
//
// Every connection sends the same message again and again and keeps `depth` of them in flight. The
// messages that may be sent at one moment go out as one burst, one send. Latency is counted per
// message, from the moment that its burst is handed to the engine until its last byte is back.
#pragma once

#include "load_stats.h"

enum exit_code { EXIT_SETUP = 1, EXIT_MISMATCH = 2, EXIT_CLOSED = 3, EXIT_STALLED = 4 };

static struct {
    int port, connections, size, depth, cpu, server_pid, spin_us;
    bool uring, verify, quiet;
    double seconds, warm_up;
} options = {.port = 9001,
             .connections = 1,
             .size = 64,
             .depth = 1,
             .cpu = -1,
             .seconds = 3,
             .warm_up = 0.5};

struct connection {
    int fd;
    uint32_t received;        // bytes of the message that is coming back
    uint32_t in_flight;       // messages
    uint32_t sendable;        // messages that may be sent now
    uint32_t oldest, newest;  // ring of send times
    uint64_t* sent_at;
    uint8_t watching_output;  // epoll engine
    uint8_t sending;          // io_uring engine
};

static struct connection* connections;
static char* burst_bytes;  // `depth` copies of the message

__attribute__((noreturn)) static void fail(enum exit_code code, int connection, const char* what) {
    fprintf(stderr, "yardstick_load: connection %d of %d: %s\n", connection, options.connections,
            what);
    exit(code);
}

// What to say of a recv or send that gave `result`: a byte count or minus errno.
__attribute__((noreturn)) static void fail_io(int connection, const char* operation, int result) {
    char text[128];
    if (result == 0 || result == -ECONNRESET || result == -EPIPE) {
        snprintf(text, sizeof text, "closed by the server (%s: %s)", operation,
                 result ? strerror(-result) : "end of stream");
    } else {
        snprintf(text, sizeof text, "%s: %s", operation, strerror(-result));
    }
    fail(EXIT_CLOSED, connection, text);
}

static void verify_bytes(int index, const char* data, size_t length) {
    struct connection* c = &connections[index];
    size_t size = (size_t)options.size;
    if (c->received + length > c->in_flight * size)
        fail(EXIT_MISMATCH, index, "DATA MISMATCH: more than was sent");
    for (size_t i = 0; i < length; i++) {
        if (data[i] != burst_bytes[(c->received + i) % size])
            fail(EXIT_MISMATCH, index, "DATA MISMATCH");
    }
}

static void on_received(int index, const char* data, size_t length) {
    struct connection* c = &connections[index];
    if (options.verify) verify_bytes(index, data, length);
    c->received += (uint32_t)length;
    while (c->received >= (uint32_t)options.size) {
        c->received -= (uint32_t)options.size;
        record_latency(now_ns() - c->sent_at[c->oldest]);
        c->oldest = (c->oldest + 1) % (uint32_t)options.depth;
        c->in_flight--;
        c->sendable++;
    }
}

// Counts all sendable messages as sent now; returns how many bytes of burst_bytes that is.
static size_t take_burst(struct connection* c) {
    size_t messages = c->sendable;
    for (size_t i = 0; i < messages; i++) {
        c->sent_at[c->newest] = now_ns();
        c->newest = (c->newest + 1) % (uint32_t)options.depth;
    }
    c->in_flight += (uint32_t)messages;
    c->sendable = 0;
    return messages * (size_t)options.size;
}

// Starts measuring when the warm-up is over; false when the time is up.
static bool keep_running(void) {
    uint64_t now = now_ns();
    if (!stats.measuring && now >= stats.start_ns) {
        stats.measuring = true;
        stats.start_ns = now;
        if (options.server_pid) stats.server_cpu_ns = process_cpu_ns(options.server_pid);
        stats.own_cpu_ns = own_cpu_ns();
    }
    return now < stats.end_ns;
}
