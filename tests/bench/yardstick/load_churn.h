// SPDX-License-Identifier: BSL-1.0
//
// Connection churn (-C, io_uring only): connect, one request, close, again and again, -n of them at a time.
//
// A connection is a chain of linked operations: connect, send, receive the whole answer; then, by default, a second
// one: shut down the sending side, receive the end of the stream that the server's close makes; then close. So it is
// counted when the server has closed it, too, and what it costs the server is an orderly end. The client ends first, so
// the waiting for late segments (TIME_WAIT) is the client's. With -R it closes with SO_LINGER 0 as soon as it has its
// answer: a reset, no TIME_WAIT, and the server's receive fails.
//
// Source addresses take turns, 127.0.1.1 to 127.0.1.64: those in TIME_WAIT would use up the ports of one. The kernel
// keeps at most net.ipv4.tcp_max_tw_buckets of them.
//
// Latency is the time from before socket() until the end of the stream (with -R until the answer).
#pragma once

#include "load_uring.h"

enum { SOURCE_ADDRESSES = 64, MAX_CHURN_SIZE = 65536 };
enum churn_tag { CHURN_CONNECT = 1, CHURN_SEND, CHURN_ANSWER, CHURN_SHUTDOWN, CHURN_END };

struct churn_slot {
    int fd;
    uint64_t begin_ns;
    char* answer;
};

struct churn_engine {
    struct io_uring ring;
    struct sockaddr_in server;
    struct churn_slot* slots;
    uint32_t made;  // connections so far
};

static struct io_uring_sqe* churn_sqe(struct churn_engine* e) {
    struct io_uring_sqe* sqe = io_uring_get_sqe(&e->ring);
    if (sqe) return sqe;
    io_uring_submit(&e->ring);
    return io_uring_get_sqe(&e->ring);
}

// What another operation follows is heard of only when it fails.
static void churn_tag(struct io_uring_sqe* sqe, enum churn_tag tag, int index, bool followed) {
    sqe->user_data = (uint64_t)tag << 56 | (uint32_t)index;
    if (followed) sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
}

static int churn_socket(struct churn_engine* e) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) die("yardstick_load: socket");
    int one = 1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (options.reset) {
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    struct sockaddr_in source = loopback(INADDR_LOOPBACK + 256 + e->made++ % SOURCE_ADDRESSES, 0);
    if (bind(fd, (struct sockaddr*)&source, sizeof source)) die("yardstick_load: bind");
    return fd;
}

// A chain must be submitted in one piece, or it is cut.
static void churn_make_room(struct churn_engine* e, unsigned sqes) {
    if (io_uring_sq_space_left(&e->ring) < sqes) io_uring_submit(&e->ring);
}

static void churn_begin(struct churn_engine* e, int index) {
    struct churn_slot* slot = &e->slots[index];
    slot->begin_ns = now_ns();
    slot->fd = churn_socket(e);
    churn_make_room(e, 3);
    struct io_uring_sqe* sqe = churn_sqe(e);
    io_uring_prep_connect(sqe, slot->fd, (struct sockaddr*)&e->server, sizeof e->server);
    churn_tag(sqe, CHURN_CONNECT, index, true);
    sqe = churn_sqe(e);
    io_uring_prep_send(sqe, slot->fd, stream_of(index), (size_t)options.size, MSG_NOSIGNAL | MSG_WAITALL);
    churn_tag(sqe, CHURN_SEND, index, true);
    sqe = churn_sqe(e);
    io_uring_prep_recv(sqe, slot->fd, slot->answer, (size_t)options.size, MSG_WAITALL);
    churn_tag(sqe, CHURN_ANSWER, index, false);
}

static void churn_finish(struct churn_engine* e, int index) {
    struct churn_slot* slot = &e->slots[index];
    close(slot->fd);
    if (stats.measuring) {
        stats.requests++;
        record(&stats.latency, now_ns() - slot->begin_ns);
    }
    churn_begin(e, index);
}

static void churn_on_answer(struct churn_engine* e, int index, int result) {
    struct churn_slot* slot = &e->slots[index];
    if (result != options.size) fail_io(index, "recv", result > 0 ? 0 : result);
    if (options.verify && memcmp(slot->answer, stream_of(index), (size_t)options.size) != 0)
        fail(EXIT_MISMATCH, index, "DATA MISMATCH");
    if (options.reset) {
        churn_finish(e, index);
        return;
    }
    churn_make_room(e, 2);
    struct io_uring_sqe* sqe = churn_sqe(e);
    io_uring_prep_shutdown(sqe, slot->fd, SHUT_WR);
    churn_tag(sqe, CHURN_SHUTDOWN, index, true);
    sqe = churn_sqe(e);
    io_uring_prep_recv(sqe, slot->fd, slot->answer, 1, 0);
    churn_tag(sqe, CHURN_END, index, false);
}

static void churn_on_completion(struct churn_engine* e, const struct io_uring_cqe* cqe) {
    static const char* const names[] = {"", "connect", "send", "recv", "shutdown", "recv at the end"};
    int index = (int)(uint32_t)cqe->user_data;
    enum churn_tag tag = (enum churn_tag)(cqe->user_data >> 56);
    if (tag == CHURN_ANSWER && cqe->res >= 0) {
        churn_on_answer(e, index, cqe->res);
    } else if (tag == CHURN_END && cqe->res == 0) {
        churn_finish(e, index);
    } else if (tag == CHURN_END && cqe->res > 0) {
        fail(EXIT_MISMATCH, index, "DATA MISMATCH: more than was sent");
    } else {
        fail_io(index, names[tag], cqe->res);
    }
}

static void run_churn(void) {
    struct churn_engine e = {.server = loopback(INADDR_LOOPBACK, options.port)};
    uring_make_ring(&e.ring);
    e.slots = zeroed((size_t)options.connections, sizeof *e.slots);
    for (int i = 0; i < options.connections; i++) {
        e.slots[i].answer = zeroed((size_t)options.size, 1);
        churn_begin(&e, i);
    }
    while (keep_running()) {
        io_uring_submit_and_wait(&e.ring, 1);
        struct io_uring_cqe* cqe;
        unsigned head;
        unsigned n = 0;
        io_uring_for_each_cqe(&e.ring, head, cqe) {
            n++;
            churn_on_completion(&e, cqe);
        }
        io_uring_cq_advance(&e.ring, n);
    }
}
