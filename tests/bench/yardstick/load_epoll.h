// SPDX-License-Identifier: BSL-1.0
//
// The load generator's epoll engine.
#pragma once

#include "load_connection.h"

#include <fcntl.h>
#include <sys/epoll.h>

enum { EPOLL_BATCH = 512, READ_BYTES = 1 << 18 };

struct epoll_engine {
    int epoll_fd;
    char* buffer;
    size_t* unsent;  // per connection: bytes of its burst that the socket has not taken
};

static void epoll_set(struct epoll_engine* e, int operation, int index, bool output) {
    struct epoll_event event = {.events = EPOLLIN | (output ? EPOLLOUT : 0), .data.u32 = (uint32_t)index};
    epoll_ctl(e->epoll_fd, operation, connections[index].fd, &event);
}

static void epoll_read(struct epoll_engine* e, int index) {
    for (;;) {
        ssize_t n = recv(connections[index].fd, e->buffer, READ_BYTES, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) fail_io(index, "recv", n ? -errno : 0);
        on_received(index, e->buffer, (size_t)n);
        if (n < READ_BYTES) return;
    }
}

static void epoll_write(struct epoll_engine* e, int index) {
    struct connection* c = &connections[index];
    for (;;) {
        if (!e->unsent[index]) {
            if (!may_send(c)) break;
            e->unsent[index] = take_burst(c);
        }
        // What is left of a burst is always the end of a message repeated `depth` times.
        size_t offset = (size_t)options.size * (size_t)options.depth - e->unsent[index];
        ssize_t n = send(c->fd, stream_of(index) + offset, e->unsent[index], MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) fail_io(index, "send", -errno);
            n = 0;
        }
        e->unsent[index] -= (size_t)n;
        if (e->unsent[index]) break;
    }
    bool blocked = e->unsent[index] != 0;
    if (blocked == c->watching_output) return;
    c->watching_output = blocked;
    epoll_set(e, EPOLL_CTL_MOD, index, blocked);
}

static int epoll_wait_or_spin(int epoll_fd, struct epoll_event* events) {
    int n = 0;
    if (options.spin_us) {
        uint64_t start = now_ns();
        do {
            n = epoll_wait(epoll_fd, events, EPOLL_BATCH, 0);
        } while (n == 0 && now_ns() - start < (uint64_t)options.spin_us * 1000ull);
    }
    if (n == 0) n = epoll_wait(epoll_fd, events, EPOLL_BATCH, 100);
    return n;
}

static void epoll_handle(struct epoll_engine* e, const struct epoll_event* events, int count) {
    for (int j = 0; j < count; j++) {
        int index = (int)events[j].data.u32;
        if (events[j].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) epoll_read(e, index);
        epoll_write(e, index);
    }
}

// Never sleeps: it has to be on time.
static void epoll_open_loop(struct epoll_engine* e) {
    schedule_begin(options.rate);
    uint64_t before = schedule.begin_ns;
    bool idle = false;
    for (bool running = true; running || keep_draining();) {
        running = running && keep_running();
        uint64_t now = now_ns();
        if (idle) count_idle(before, now);
        before = now;
        idle = true;
        for (int index; (index = next_due_connection(now)) >= 0; idle = false) epoll_write(e, index);
        struct epoll_event events[EPOLL_BATCH];
        int n = epoll_wait(e->epoll_fd, events, EPOLL_BATCH, 0);
        if (n > 0) idle = false;
        epoll_handle(e, events, n);
    }
    count_unanswered();
}

static void run_epoll(void) {
    struct epoll_engine e = {.epoll_fd = epoll_create1(0)};
    if (e.epoll_fd < 0) die("epoll_create1");
    e.buffer = zeroed(1, READ_BYTES);
    e.unsent = zeroed((size_t)options.connections, sizeof *e.unsent);
    for (int i = 0; i < options.connections; i++) {
        epoll_set(&e, EPOLL_CTL_ADD, i, false);
        fcntl(connections[i].fd, F_SETFL, O_NONBLOCK);
    }
    if (options.rate > 0) {
        epoll_open_loop(&e);
        return;
    }
    for (int i = 0; i < options.connections; i++) {
        connections[i].sendable = (uint32_t)options.depth;
        epoll_write(&e, i);
    }
    while (keep_running()) {
        struct epoll_event events[EPOLL_BATCH];
        epoll_handle(&e, events, epoll_wait_or_spin(e.epoll_fd, events));
    }
}
