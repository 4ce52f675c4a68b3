// SPDX-License-Identifier: BSL-1.0
//
// The load generator's io_uring engine (-u): multishot recv into provided buffers, one send in
// flight per connection, one system call per turn. It is the faster one, so that the server is the
// limit more often.
#pragma once

#include "load_connection.h"

#include <liburing.h>

enum { BUFFERS = 4096 };
enum { TAG_RECV = 1, TAG_SEND = 2 };

struct uring_engine {
    struct io_uring ring;
    struct io_uring_buf_ring* buffer_ring;
    char* memory;
    unsigned buffer_bytes;
};

static char* uring_buffer(struct uring_engine* e, int buffer) {
    return e->memory + (size_t)buffer * e->buffer_bytes;
}

static void uring_give_buffer(struct uring_engine* e, int buffer, int position) {
    io_uring_buf_ring_add(e->buffer_ring, uring_buffer(e, buffer), e->buffer_bytes, (unsigned short)buffer, BUFFERS - 1,
                          position);
}

static void uring_make_ring(struct io_uring* ring) {
    struct io_uring_params params = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        .cq_entries = 32768,
    };
    if (options.rate > 0) params.flags |= IORING_SETUP_TASKRUN_FLAG;  // so that waiting in user space sees what comes
    int r = io_uring_queue_init_params(4096, ring, &params);
    if (r < 0) {
        fprintf(stderr, "yardstick_load: io_uring_setup: %s\n", strerror(-r));
        exit(EXIT_SETUP);
    }
    io_uring_register_ring_fd(ring);
}

static void uring_setup(struct uring_engine* e) {
    uring_make_ring(&e->ring);
    e->buffer_bytes = options.size * options.depth > 4096 ? 16384 : 4096;
    e->buffer_ring = map_pages(BUFFERS * sizeof(struct io_uring_buf));
    struct io_uring_buf_reg registration = {.ring_addr = (uintptr_t)e->buffer_ring, .ring_entries = BUFFERS, .bgid = 1};
    if (io_uring_register_buf_ring(&e->ring, &registration, 0)) die("io_uring_register_buf_ring");
    e->memory = map_pages((size_t)BUFFERS * e->buffer_bytes);
    for (int i = 0; i < BUFFERS; i++) uring_give_buffer(e, i, i);
    io_uring_buf_ring_advance(e->buffer_ring, BUFFERS);
}

static struct io_uring_sqe* uring_next_sqe(struct uring_engine* e) {
    struct io_uring_sqe* sqe = io_uring_get_sqe(&e->ring);
    if (sqe) return sqe;
    io_uring_submit(&e->ring);
    return io_uring_get_sqe(&e->ring);
}

static void uring_arm_recv(struct uring_engine* e, uint32_t index) {
    struct io_uring_sqe* sqe = uring_next_sqe(e);
    io_uring_prep_recv(sqe, connections[index].fd, NULL, 0, 0);
    sqe->ioprio |= IORING_RECV_MULTISHOT;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 1;
    sqe->user_data = (uint64_t)TAG_RECV << 56 | index;
}

static void uring_send_burst(struct uring_engine* e, uint32_t index) {
    struct connection* c = &connections[index];
    size_t length = take_burst(c);
    struct io_uring_sqe* sqe = uring_next_sqe(e);
    io_uring_prep_send(sqe, c->fd, stream_of((int)index), length, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->user_data = (uint64_t)TAG_SEND << 56 | index;
    c->sending = 1;
}

static void uring_try_send(struct uring_engine* e, uint32_t index) {
    struct connection* c = &connections[index];
    if (may_send(c) && !c->sending) uring_send_burst(e, index);
}

// Returns how many buffers were put back, at positions that start at `returned`: one or none.
static int uring_on_recv(struct uring_engine* e, uint32_t index, const struct io_uring_cqe* cqe, int returned) {
    int count = 0;
    if (cqe->res > 0) {
        int buffer = (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        on_received((int)index, uring_buffer(e, buffer), (size_t)cqe->res);
        uring_give_buffer(e, buffer, returned);
        count = 1;
    } else if (cqe->res != -ENOBUFS) {
        fail_io((int)index, "recv", cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) uring_arm_recv(e, index);
    return count;
}

static unsigned uring_handle_completions(struct uring_engine* e) {
    struct io_uring_cqe* cqe;
    unsigned head;
    unsigned n = 0;
    int returned = 0;
    io_uring_for_each_cqe(&e->ring, head, cqe) {
        n++;
        uint32_t index = (uint32_t)cqe->user_data;
        if (cqe->user_data >> 56 == TAG_RECV) {
            returned += uring_on_recv(e, index, cqe, returned);
        } else {
            connections[index].sending = 0;
            if (cqe->res < 0) fail_io((int)index, "send", cqe->res);
        }
        uring_try_send(e, index);
    }
    if (returned) io_uring_buf_ring_advance(e->buffer_ring, returned);
    io_uring_cq_advance(&e->ring, n);
    return n;
}

// Never sleeps: it has to be on time. The kernel is entered when there is something to submit, or to fetch.
static void uring_open_loop(struct uring_engine* e) {
    schedule_begin(options.rate);
    uint64_t before = schedule.begin_ns;
    bool idle = false;
    for (bool running = true; running || keep_draining();) {
        running = running && keep_running();
        uint64_t now = now_ns();
        if (idle) count_idle(before, now);
        before = now;
        for (int index; (index = next_due_connection(now)) >= 0;) uring_try_send(e, (uint32_t)index);
        unsigned flags = __atomic_load_n(e->ring.sq.kflags, __ATOMIC_RELAXED);
        bool fetch = flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
        bool enter = fetch || io_uring_sq_ready(&e->ring);
        if (enter) io_uring_submit_and_get_events(&e->ring);
        idle = uring_handle_completions(e) == 0 && !enter;
    }
    count_unanswered();
}

static void run_uring(void) {
    struct uring_engine e;
    uring_setup(&e);
    for (int i = 0; i < options.connections; i++) {
        uring_arm_recv(&e, (uint32_t)i);
        if (options.rate > 0) continue;
        connections[i].sendable = (uint32_t)options.depth;
        uring_send_burst(&e, (uint32_t)i);
    }
    if (options.rate > 0) {
        uring_open_loop(&e);
        return;
    }
    while (keep_running()) {
        io_uring_submit_and_wait(&e.ring, 1);
        uring_handle_completions(&e);
    }
}
