// SPDX-License-Identifier: BSL-1.0
//
// The buffers that the kernel picks from when data arrives (a provided-buffer ring).
//
// Who owns a buffer: the kernel, from add_buffer() until a completion says that it is through with
// it (`filled`); then the segments that point into it; the last one to go gives it back. Put-back
// buffers become visible to the kernel in one step, publish_buffers(), once per batch.
#pragma once

#include "uring_state.h"

#include <sys/syscall.h>

static inline char* buffer_memory(struct worker* w, int buffer) {
    return w->memory + (size_t)buffer * (size_t)options.buffer_bytes;
}

static void add_buffer(struct worker* w, int buffer) {
    int mask = options.buffer_count - 1;
    int slot = (w->buffer_ring->tail + w->returned) & mask;
    w->used[buffer] = 0;
    w->slot_of[buffer] = (uint16_t)slot;
    w->buffer_at[slot] = (uint16_t)buffer;
    io_uring_buf_ring_add(w->buffer_ring, buffer_memory(w, buffer), (unsigned)options.buffer_bytes,
                          (unsigned short)buffer, mask, w->returned++);
}

static inline void publish_buffers(struct worker* w) {
    io_uring_buf_ring_advance(w->buffer_ring, w->returned);
    w->returned = 0;
}

static void drop_reference(struct worker* w, int buffer) {
    if (--w->references[buffer] != 0 || !w->filled[buffer]) return;
    w->filled[buffer] = 0;
    add_buffer(w, buffer);
}

static inline int buffer_after(struct worker* w, int buffer) {
    return w->buffer_at[(w->slot_of[buffer] + 1) & (options.buffer_count - 1)];
}

// Registers the ring by a plain system call: liburing 2.3 has no name for the field that holds the
// flags.
static void register_buffer_ring(struct worker* w) {
    struct io_uring_buf_reg registration = {.ring_addr = (uintptr_t)w->buffer_ring,
                                            .ring_entries = (uint32_t)options.buffer_count,
                                            .bgid = 1};
    uint16_t flags = options.incremental ? BUFFER_RING_INCREMENTAL : 0;
    memcpy((char*)&registration + 14, &flags, sizeof flags);
    if (syscall(__NR_io_uring_register, w->ring.ring_fd, IORING_REGISTER_PBUF_RING, &registration,
                1) < 0) {
        die("IORING_REGISTER_PBUF_RING");
    }
}

static void make_buffers(struct worker* w) {
    size_t count = (size_t)options.buffer_count;
    w->buffer_ring = map_pages(count * sizeof(struct io_uring_buf));
    register_buffer_ring(w);
    w->memory = map_pages(count * (size_t)options.buffer_bytes);
    w->used = zeroed(count, sizeof *w->used);
    w->references = zeroed(count, sizeof *w->references);
    w->filled = zeroed(count, sizeof *w->filled);
    w->slot_of = zeroed(count, sizeof *w->slot_of);
    w->buffer_at = zeroed(count, sizeof *w->buffer_at);
    w->buffer_ring->tail = 0;
    for (int i = 0; i < options.buffer_count; i++) add_buffer(w, i);
    publish_buffers(w);
}
