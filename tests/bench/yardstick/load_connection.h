// SPDX-License-Identifier: BSL-1.0
//
// A connection of the load generator, as both of its engines (load_epoll.h, load_uring.h) see it.
//
// Every connection sends the same message again and again, with at most `depth` of them in flight. The messages that
// may be sent at one moment go out as one burst, one send. Latency is counted per message until its last byte is back:
// in a closed loop, which always keeps `depth` in flight, from the moment that its burst is handed to the engine; in an
// open one from the moment that it was due (load_schedule.h).
#pragma once

#include "load_schedule.h"

enum exit_code { EXIT_SETUP = 1, EXIT_MISMATCH = 2, EXIT_CLOSED = 3, EXIT_STALLED = 4 };

static struct {
    int port, connections, size, depth, cpu, server_pid, spin_us;
    bool uring, verify, quiet;
    bool churn, reset;
    double seconds, warm_up, rate;  // rate: messages per second of an open loop, zero for a closed one
} options = {.port = 9001, .connections = 1, .size = 64, .depth = 1, .cpu = -1, .seconds = 3, .warm_up = 0.5};

struct connection {
    int fd;
    uint32_t received;        // bytes of the message that is coming back
    uint32_t in_flight;       // messages
    uint32_t sendable;        // messages that may be sent now
    uint32_t oldest, newest;  // ring of send times, closed loop
    uint64_t* sent_at;
    uint64_t answered;        // messages since the connection was made
    uint64_t served;          // messages answered in the measured time
    uint8_t watching_output;  // epoll engine
    uint8_t sending;          // io_uring engine
};

static struct connection* connections;
static char* burst_bytes;  // `depth` + 1 copies of the message

// A connection's stream begins within the message, each at another byte, so that bytes that went to the wrong
// connection are not those that were expected there.
static const char* stream_of(int connection) {
    return burst_bytes + connection % options.size;
}

__attribute__((noreturn)) static void fail(enum exit_code code, int connection, const char* what) {
    fprintf(stderr, "yardstick_load: connection %d of %d: %s\n", connection, options.connections, what);
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
    if (c->received + length > (size_t)c->in_flight * (size_t)options.size)
        fail(EXIT_MISMATCH, index, "DATA MISMATCH: more than was sent");
    if (options.verify && memcmp(data, stream_of(index) + c->received, length) != 0)
        fail(EXIT_MISMATCH, index, "DATA MISMATCH");
}

// ---- the measured time

// Starts measuring when the warm-up is over, and ends it; false when the time is up.
static bool keep_running(void) {
    uint64_t now = now_ns();
    if (!stats.measuring && now >= stats.start_ns && now < stats.end_ns) {
        stats.measuring = true;
        stats.start_ns = now;
        if (options.server_pid) stats.server_cpu_ns = process_cpu_ns(options.server_pid);
        stats.own_cpu_ns = own_cpu_ns();
    }
    if (now < stats.end_ns) return true;
    if (stats.measuring) {
        stats.measuring = false;
        stats.end_ns = now;
        if (options.server_pid) {
            uint64_t used = process_cpu_ns(options.server_pid);
            if (used == 0) fail(EXIT_CLOSED, 0, "the server's process has ended");
            stats.server_cpu_ns = used - stats.server_cpu_ns;
        }
        stats.own_cpu_ns = own_cpu_ns() - stats.own_cpu_ns;
    }
    return false;
}

// ---- messages

static void on_received(int index, const char* data, size_t length) {
    struct connection* c = &connections[index];
    verify_bytes(index, data, length);
    c->received += (uint32_t)length;
    while (c->received >= (uint32_t)options.size) {
        c->received -= (uint32_t)options.size;
        uint64_t now = now_ns();
        if (options.rate > 0) {
            schedule_answered((uint64_t)index + c->answered * (uint64_t)options.connections, now);
        } else {
            if (stats.measuring) record(&stats.latency, now - c->sent_at[c->oldest]);
            c->oldest = (c->oldest + 1) % (uint32_t)options.depth;
            c->sendable++;
        }
        c->answered++;
        c->in_flight--;
        if (stats.measuring) {
            stats.requests++;
            c->served++;
        }
    }
}

static bool may_send(const struct connection* c) {
    return c->sendable && c->in_flight < (uint32_t)options.depth;
}

// Counts the messages that may be sent as sent now; returns how many bytes of the stream that is.
static size_t take_burst(struct connection* c) {
    uint32_t room = (uint32_t)options.depth - c->in_flight;
    uint32_t messages = c->sendable < room ? c->sendable : room;
    for (uint32_t i = 0; options.rate == 0 && i < messages; i++) {
        c->sent_at[c->newest] = now_ns();
        c->newest = (c->newest + 1) % (uint32_t)options.depth;
    }
    c->in_flight += messages;
    c->sendable -= messages;
    return messages * (size_t)options.size;
}

// ---- open loop

enum { DRAIN_SECONDS = 1 };

// Makes the next due message sendable; the index of its connection, or -1 when none is due.
static int next_due_connection(uint64_t now) {
    uint64_t number;
    if (!next_due(now, &number)) return -1;
    int index = (int)(number % (uint64_t)options.connections);
    struct connection* c = &connections[index];
    c->sendable++;
    if (is_counted(number) && c->in_flight + c->sendable > (uint32_t)options.depth) stats.held++;
    return index;
}

// A turn of the loop has found nothing to do since `before`. A long one was no turn, but another program's.
static void count_idle(uint64_t before, uint64_t now) {
    enum { LONG_TURN_NS = 10000 };
    if (stats.measuring && now - before < LONG_TURN_NS) stats.idle_ns += now - before;
}

// What has been counted is waited for, but not for ever.
static bool keep_draining(void) {
    return schedule.answered_counted < schedule.counted && now_ns() < stats.end_ns + DRAIN_SECONDS * 1000000000ull;
}

// Messages without an answer count with the time that they have waited, so that they are not left out of the tail.
static void count_unanswered(void) {
    uint64_t now = now_ns();
    for (int i = 0; i < options.connections; i++) {
        for (;;) {
            uint64_t number = (uint64_t)i + connections[i].answered++ * (uint64_t)options.connections;
            if (number >= schedule.next) break;
            if (is_counted(number)) stats.unanswered++;
            schedule_answered(number, now);
        }
    }
}
