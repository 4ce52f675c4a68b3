// SPDX-License-Identifier: BSL-1.0
//
// The epoll yardstick: an echo server with nothing in it but system calls.
//
// One thread has one epoll instance, one SO_REUSEPORT listener and one read buffer. It is
// speculative: what was read is sent at once, and EPOLLOUT is asked for only when a send would
// block. While output is pending the connection is not read, so one slow reader holds at most one
// buffer.
//
// usage: yardstick_epoll [-p port] [-c first cpu] [-t threads] [-b buffer bytes]
//                        [-E edge triggered] [-x read until EAGAIN] [-S microseconds to spin before
//                        blocking]
#include "common.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum { BATCH = 512 };

static struct {
    int port, first_cpu, threads, buffer_bytes, spin_us;
    bool edge, drain;
} options = {.port = 9001, .first_cpu = -1, .threads = 1, .buffer_bytes = 65536};

// The tail of an echo that did not fit into the socket; `pending` is null when there is none.
struct connection {
    char* pending;
    size_t pending_length;
    size_t pending_sent;
};

// Indexed by descriptor; an entry belongs to the thread whose listener accepted it.
static struct connection* connections;

enum outcome { DONE, BLOCKED, DEAD };

static void change_interest(int epoll_fd, int fd, uint32_t events) {
    if (options.edge) return;  // edge triggered sockets watch both directions from the start
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

static void accept_all(int epoll_fd, int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        memset(&connections[fd], 0, sizeof connections[fd]);
        uint32_t events = EPOLLIN | EPOLLRDHUP | (options.edge ? EPOLLET | EPOLLOUT : 0);
        struct epoll_event event = {.events = events, .data.fd = fd};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static enum outcome flush_pending(int epoll_fd, int fd, struct connection* c) {
    size_t left = c->pending_length - c->pending_sent;
    ssize_t sent = send(fd, c->pending + c->pending_sent, left, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return errno == EAGAIN ? BLOCKED : DEAD;
    c->pending_sent += (size_t)sent;
    if (c->pending_sent < c->pending_length) return BLOCKED;
    free(c->pending);
    c->pending = NULL;
    change_interest(epoll_fd, fd, EPOLLIN | EPOLLRDHUP);
    return DONE;
}

// Sends `length` bytes; keeps a copy of what the socket would not take.
static enum outcome send_or_keep(int epoll_fd, int fd, struct connection* c, const char* data,
                                 size_t length) {
    size_t offset = 0;
    while (offset < length) {
        ssize_t sent = send(fd, data + offset, length - offset, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) break;
        if (sent < 0) return DEAD;
        offset += (size_t)sent;
    }
    if (offset == length) return DONE;
    c->pending_length = length - offset;
    c->pending_sent = 0;
    c->pending = malloc(c->pending_length);
    if (!c->pending) die("malloc");
    memcpy(c->pending, data + offset, c->pending_length);
    change_interest(epoll_fd, fd, EPOLLOUT);
    return BLOCKED;
}

static enum outcome echo(int epoll_fd, int fd, struct connection* c, char* buffer) {
    for (;;) {
        ssize_t received = recv(fd, buffer, (size_t)options.buffer_bytes, MSG_DONTWAIT);
        if (received == 0) return DEAD;
        if (received < 0) return errno == EAGAIN ? DONE : DEAD;
        enum outcome outcome = send_or_keep(epoll_fd, fd, c, buffer, (size_t)received);
        if (outcome != DONE) return outcome;
        if (options.drain) continue;
        if (received < options.buffer_bytes)
            return DONE;                 // a short read of a stream: the socket is empty
        if (!options.edge) return DONE;  // level triggered: the next wait tells
    }
}

static void serve(int epoll_fd, int fd, char* buffer) {
    struct connection* c = &connections[fd];
    enum outcome outcome = c->pending ? flush_pending(epoll_fd, fd, c) : DONE;
    if (outcome == DONE) outcome = echo(epoll_fd, fd, c, buffer);
    if (outcome != DEAD) return;
    free(c->pending);
    c->pending = NULL;
    close(fd);
}

// Polls for options.spin_us before it blocks.
static int wait_for_events(int epoll_fd, struct epoll_event* events) {
    int n = 0;
    if (options.spin_us) {
        uint64_t start = now_ns();
        do {
            n = epoll_wait(epoll_fd, events, BATCH, 0);
        } while (n == 0 && now_ns() - start < (uint64_t)options.spin_us * 1000ull);
    }
    if (n == 0) n = epoll_wait(epoll_fd, events, BATCH, -1);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    return n;
}

__attribute__((noreturn)) static void* run_worker(void* argument) {
    int id = (int)(intptr_t)argument;
    if (options.first_cpu >= 0) pin_to_cpu(options.first_cpu + id);
    int epoll_fd = epoll_create1(0);
    if (epoll_fd < 0) die("epoll_create1");
    int listener = tcp_listen(options.port, SOCK_NONBLOCK);
    char* buffer = malloc((size_t)options.buffer_bytes);
    if (!buffer) die("malloc");
    struct epoll_event events[BATCH];
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = wait_for_events(epoll_fd, events);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(epoll_fd, listener);
            } else {
                serve(epoll_fd, fd, buffer);
            }
        }
    }
}

static void parse_options(int argc, char** argv) {
    int option;
    while ((option = getopt(argc, argv, "p:c:t:b:ExS:")) > 0) {
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
            case 'E':
                options.edge = true;
                break;
            case 'x':
                options.drain = true;
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
