// SPDX-License-Identifier: BSL-1.0
//
// The state of the io_uring yardstick server: what the command line chose, what a connection owns,
// what a worker thread owns. Each worker has its own ring, buffers and listener, so nothing here is
// shared between threads except the options, which do not change after main() has read them, and
// the connection table, whose entries each belong to the worker that accepted the descriptor.
#pragma once

#include "common.h"

#include <liburing.h>
#include <stdbool.h>

// Names that liburing 2.3 does not have yet.
enum {
    RECV_BUNDLE = 1u << 4,        // IORING_RECVSEND_BUNDLE, Linux 6.10
    BUFFER_RING_INCREMENTAL = 2,  // IOU_PBUF_RING_INC, Linux 6.12
    CQE_BUFFER_MORE = 1u << 4,    // IORING_CQE_F_BUF_MORE, Linux 6.12
};

enum ring_flags { RING_PLAIN, RING_COOP, RING_DEFER, RING_ALL };

static struct {
    int port, first_cpu, threads;
    int buffer_bytes, buffer_count;  // the count is a power of two
    int ring_flags;                  // enum ring_flags
    bool send_by_syscall;            // send(2) first, an sqe only when the socket is full
    bool oneshot;                    // one recv per sqe instead of a multishot recv
    bool bundle;                     // one cqe may fill several buffers
    bool incremental;                // a buffer is used up in pieces
    bool coalesce;  // send once per batch and connection, all pieces in one sendmsg
    int wait_count, min_wait_us, spin_us;
} options = {
    .port = 9002,
    .first_cpu = -1,
    .threads = 1,
    .buffer_bytes = 4096,
    .buffer_count = 4096,
    .ring_flags = RING_ALL,
    .wait_count = 1,
};

// One received piece that waits to be sent; it holds one reference on its buffer.
struct segment {
    struct segment* next;
    char* data;
    uint32_t length;
    uint16_t buffer;
};

enum { MAX_IOVECS = 32 };

struct gathered {
    struct msghdr message;
    struct iovec pieces[MAX_IOVECS];
};

struct connection {
    struct segment *head, *tail;  // received and not yet sent, in order
    struct gathered* gathered;    // memory for a sendmsg in flight, made when first needed
    uint8_t sending;              // one send at a time
    uint8_t dirty;                // listed in worker.dirty
    uint8_t eof;                  // recv has ended; the connection closes when no send is in flight
};

// Indexed by descriptor.
static struct connection* connections;

enum { MAX_LISTED = 65536 };

struct worker {
    struct io_uring ring;
    int listener;

    // Provided buffers: see uring_buffers.h.
    struct io_uring_buf_ring* buffer_ring;
    char* memory;
    uint32_t* used;        // bytes of the buffer that recv has filled
    uint32_t* references;  // segments that point into the buffer
    uint8_t* filled;       // the kernel is through with the buffer
    uint16_t* slot_of;     // buffer -> slot of the ring: a bundle continues in ring order, not in
                           // buffer order
    uint16_t* buffer_at;   // slot -> buffer
    int returned;          // buffers put back since the ring's tail was last published

    struct segment* free_segments;

    int starving[MAX_LISTED];  // connections whose recv ended for want of a buffer
    int starving_count;
    int dirty[MAX_LISTED];  // connections that get a coalesced send after this batch
    int dirty_count;
};

// An operation's user_data: what it is, and the descriptor.
enum operation { OP_ACCEPT = 1, OP_RECV, OP_SEND };

static inline uint64_t tag(enum operation operation, int fd) {
    return (uint64_t)operation << 56 | (uint32_t)fd;
}

// A free submission entry; submits what is queued when the queue is full.
static inline struct io_uring_sqe* next_sqe(struct worker* w) {
    struct io_uring_sqe* sqe = io_uring_get_sqe(&w->ring);
    if (sqe) return sqe;
    io_uring_submit(&w->ring);
    sqe = io_uring_get_sqe(&w->ring);
    if (!sqe) abort();
    return sqe;
}
