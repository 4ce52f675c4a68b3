// SPDX-License-Identifier: BSL-1.0
//
// The io_uring yardstick: an echo server with nothing in it but the ring.
//
// One thread has one ring, one SO_REUSEPORT listener and one set of provided buffers. A turn of its
// loop is:
//   1. submit everything that is queued and wait, in one system call (after a spin in user space
//   with -S);
//   2. handle the batch of completions: accepts arm a multishot recv, recvs queue segments, sends
//   free them;
//   3. with -v: start one send per connection that has something queued;
//   4. publish the returned buffers, and arm again the recvs that had run out of them.
//
// usage: yardstick_uring [-p port] [-c first cpu] [-t threads] [-b buffer bytes] [-n buffers, a
// power of two]
//                        [-f ring flags: 0 none, 1 COOP_TASKRUN, 2 SINGLE_ISSUER and DEFER_TASKRUN,
//                            3 as 2 with COOP_TASKRUN and SUBMIT_ALL (default)]
//                        [-s send by send(2)] [-o one-shot recv] [-B recv bundles] [-I incremental
//                        buffers]
//                        [-v one coalesced send per batch and connection]
//                        [-w completions to wait for] [-m microseconds of minimal wait]
//                        [-S microseconds to spin before blocking]
// The best general setting is -b 16384 -n 256 -v.
#include "uring_send.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>

// ---- operations that are armed again and again

static void arm_accept(struct worker* w) {
    struct io_uring_sqe* sqe = next_sqe(w);
    io_uring_prep_multishot_accept(sqe, w->listener, NULL, NULL, 0);
    sqe->user_data = tag(OP_ACCEPT, 0);
}

static void arm_recv(struct worker* w, int fd) {
    struct io_uring_sqe* sqe = next_sqe(w);
    io_uring_prep_recv(sqe, fd, NULL, 0, 0);
    if (options.oneshot) {
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
        sqe->len = (uint32_t)options.buffer_bytes;
    } else {
        sqe->ioprio |= IORING_RECV_MULTISHOT | (options.bundle ? RECV_BUNDLE : 0);
    }
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 1;
    sqe->user_data = tag(OP_RECV, fd);
}

// ---- completions

static void on_accept(struct worker* w, const struct io_uring_cqe* cqe) {
    if (cqe->res >= 0) {
        memset(&connections[cqe->res], 0, sizeof connections[cqe->res]);
        arm_recv(w, cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) arm_accept(w);
}

// Queues the received bytes, buffer by buffer: a bundle spans several, an incremental buffer is
// entered midway.
static void queue_received(struct worker* w, int fd, const struct io_uring_cqe* cqe) {
    int buffer = (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    int left = cqe->res;
    while (left > 0) {
        int start = options.incremental ? (int)w->used[buffer] : 0;
        int length = options.buffer_bytes - start;
        if (length > left) length = left;
        w->used[buffer] += (uint32_t)length;
        left -= length;
        append_segment(w, fd, buffer_memory(w, buffer) + start, (uint32_t)length, buffer);
        bool filled = true;
        if (options.incremental) {
            filled = (int)w->used[buffer] == options.buffer_bytes;
            if (left == 0 && !(cqe->flags & CQE_BUFFER_MORE)) filled = true;
        }
        if (filled) w->filled[buffer] = 1;
        buffer = buffer_after(w, buffer);
    }
}

static void on_recv(struct worker* w, int fd, const struct io_uring_cqe* cqe) {
    struct connection* c = &connections[fd];
    if (cqe->res > 0) {
        queue_received(w, fd, cqe);
        if (options.coalesce) {
            if (!c->sending) mark_dirty(w, fd);
        } else {
            start_send(w, fd);
        }
        if (!(cqe->flags & IORING_CQE_F_MORE)) arm_recv(w, fd);
    } else if (cqe->res == -ENOBUFS) {
        w->starving[w->starving_count++] = fd;
    } else {
        c->eof = 1;
        if (!c->sending) close_connection(w, fd);
    }
}

static void on_send(struct worker* w, int fd, const struct io_uring_cqe* cqe) {
    struct connection* c = &connections[fd];
    c->sending = 0;
    if (cqe->res <= 0) {
        abandon_connection(w, fd);
        return;
    }
    uint32_t left = (uint32_t)cqe->res;
    while (left && c->head) {
        uint32_t length = c->head->length < left ? c->head->length : left;
        consume(c->head, length);
        left -= length;
        if (c->head->length == 0) pop_segment(w, c);
    }
    if (!c->head) {
        if (c->eof) close_connection(w, fd);
    } else if (options.coalesce) {
        mark_dirty(w, fd);
    } else {
        start_send(w, fd);
    }
}

static unsigned handle_completions(struct worker* w) {
    struct io_uring_cqe* cqe;
    unsigned head;
    unsigned n = 0;
    io_uring_for_each_cqe(&w->ring, head, cqe) {
        n++;
        int fd = (int)(cqe->user_data & 0xffffffff);
        switch (cqe->user_data >> 56) {
            case OP_ACCEPT:
                on_accept(w, cqe);
                break;
            case OP_RECV:
                on_recv(w, fd, cqe);
                break;
            case OP_SEND:
                on_send(w, fd, cqe);
                break;
        }
    }
    return n;
}

// ---- waiting

// The completion queue's tail and the flag "task work is pending" are plain memory: spinning over
// them costs no system call, and the kernel is entered only when there is something to fetch. True
// when completions are ready.
static bool spin_for_completions(struct worker* w) {
    io_uring_submit(&w->ring);
    uint64_t start = now_ns();
    while (!io_uring_cq_ready(&w->ring) && now_ns() - start < (uint64_t)options.spin_us * 1000ull) {
        unsigned flags = __atomic_load_n(w->ring.sq.kflags, __ATOMIC_RELAXED);
        if (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) io_uring_get_events(&w->ring);
    }
    return io_uring_cq_ready(&w->ring) != 0;
}

// Submits and waits for wait_count completions, or for min_wait_us and then for one (Linux 6.12).
// liburing 2.3 does not know this argument, so the call is made by hand.
static void submit_and_min_wait(struct worker* w) {
    struct {
        uint64_t sigmask;
        uint32_t sigmask_size, min_wait_us;
        uint64_t timeout;
    } argument = {.min_wait_us = (uint32_t)options.min_wait_us};
    struct __kernel_timespec timeout = {.tv_sec = 1};
    argument.timeout = (uintptr_t)&timeout;
    unsigned tail = w->ring.sq.sqe_tail;
    unsigned count = tail - *w->ring.sq.khead;
    __atomic_store_n(w->ring.sq.ktail, tail, __ATOMIC_RELEASE);
    w->ring.sq.sqe_head = tail;
    unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | IORING_ENTER_REGISTERED_RING;
    syscall(__NR_io_uring_enter, w->ring.enter_ring_fd, count, options.wait_count, flags, &argument,
            sizeof argument);
}

static void wait_for_completions(struct worker* w) {
    if (options.spin_us && spin_for_completions(w)) return;
    if (options.min_wait_us) {
        submit_and_min_wait(w);
        return;
    }
    int r = io_uring_submit_and_wait(&w->ring, (unsigned)options.wait_count);
    if (r < 0 && r != -EINTR && r != -ETIME) {
        fprintf(stderr, "io_uring_enter: %s\n", strerror(-r));
        exit(1);
    }
}

// ---- a worker

static unsigned setup_flags(void) {
    unsigned flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    if (options.ring_flags == RING_COOP) flags |= IORING_SETUP_COOP_TASKRUN;
    if (options.ring_flags >= RING_DEFER)
        flags |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    if (options.ring_flags == RING_ALL)
        flags |= IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL;
    if (options.spin_us && options.ring_flags >= RING_DEFER) flags |= IORING_SETUP_TASKRUN_FLAG;
    return flags;
}

static struct worker* make_worker(void) {
    struct worker* w = zeroed(1, sizeof *w);
    struct io_uring_params params = {.flags = setup_flags(), .cq_entries = 16384};
    int r = io_uring_queue_init_params(2048, &w->ring, &params);
    if (r < 0) {
        fprintf(stderr, "io_uring_setup: %s\n", strerror(-r));
        exit(1);
    }
    io_uring_register_ring_fd(&w->ring);
    make_buffers(w);
    w->listener = tcp_listen(options.port, 0);
    arm_accept(w);
    return w;
}

__attribute__((noreturn)) static void* run_worker(void* argument) {
    int id = (int)(intptr_t)argument;
    if (options.first_cpu >= 0) pin_to_cpu(options.first_cpu + id);
    struct worker* w = make_worker();
    for (;;) {
        wait_for_completions(w);
        unsigned handled = handle_completions(w);
        for (int i = 0; i < w->dirty_count; i++) {
            connections[w->dirty[i]].dirty = 0;
            start_gathered_send(w, w->dirty[i]);
        }
        w->dirty_count = 0;
        if (w->returned) {
            publish_buffers(w);
            for (int i = 0; i < w->starving_count; i++) arm_recv(w, w->starving[i]);
            w->starving_count = 0;
        }
        io_uring_cq_advance(&w->ring, handled);
    }
}

// ---- the command line

static void parse_options(int argc, char** argv) {
    int option;
    while ((option = getopt(argc, argv, "p:c:t:b:n:f:soBIvw:m:S:")) > 0) {
        switch (option) {
            case 'p':
                options.port = atoi(optarg);
                break;
            case 'c':
                options.first_cpu = atoi(optarg);
                break;
            case 't':
                options.threads = atoi(optarg);
                break;
            case 'b':
                options.buffer_bytes = atoi(optarg);
                break;
            case 'n':
                options.buffer_count = atoi(optarg);
                break;
            case 'f':
                options.ring_flags = atoi(optarg);
                break;
            case 's':
                options.send_by_syscall = true;
                break;
            case 'o':
                options.oneshot = true;
                break;
            case 'B':
                options.bundle = true;
                break;
            case 'I':
                options.incremental = true;
                break;
            case 'v':
                options.coalesce = true;
                break;
            case 'w':
                options.wait_count = atoi(optarg);
                break;
            case 'm':
                options.min_wait_us = atoi(optarg);
                break;
            case 'S':
                options.spin_us = atoi(optarg);
                break;
            default:
                exit(64);
        }
    }
}

int main(int argc, char** argv) {
    parse_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    raise_fd_limit();
    connections = map_pages(MAX_FDS * sizeof *connections);
    for (int i = 1; i < options.threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run_worker, (void*)(intptr_t)i)) die("pthread_create");
    }
    run_worker(NULL);
}
