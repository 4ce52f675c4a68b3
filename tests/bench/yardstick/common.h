// SPDX-License-Identifier: BSL-1.0
//
// What the three yardstick programs share: a clock, fatal errors, pinning, the descriptor limit,
// and a listening socket. Plain C on Linux, one process each, nothing here is called on a hot path
// but now_ns().
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 1048576 };

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

// Prints what failed with errno's text, and ends the process.
__attribute__((noreturn)) static inline void die(const char* what) {
    perror(what);
    exit(1);
}

// Pins the calling thread; a negative number leaves it where it may run.
static inline void pin_to_cpu(int cpu) {
    if (cpu < 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity");
}

// Raises the limit on open descriptors as far as we are let.
static inline void raise_fd_limit(void) {
    struct rlimit limit = {MAX_FDS, MAX_FDS};
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

// Anonymous zeroed pages that cost memory only where they are touched.
static inline void* map_pages(size_t bytes) {
    void* p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) die("mmap");
    return p;
}

static inline void* zeroed(size_t count, size_t size) {
    void* p = calloc(count, size);
    if (!p) die("calloc");
    return p;
}

// No Nagle delay; the congestion control named by the environment variable CC, if it is set.
// Accepted sockets inherit both from their listener.
static inline void set_tcp_options(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    const char* congestion = getenv("CC");
    if (congestion) setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, strlen(congestion));
}

static inline struct sockaddr_in loopback(uint32_t address, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(address)};
    return a;
}

// A listener on 127.0.0.1. SO_REUSEPORT lets each thread have its own.
static inline int tcp_listen(int port, int socket_flags) {
    int fd = socket(AF_INET, SOCK_STREAM | socket_flags, 0);
    if (fd < 0) die("socket");
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    set_tcp_options(fd);
    struct sockaddr_in a = loopback(INADDR_LOOPBACK, port);
    if (bind(fd, (struct sockaddr*)&a, sizeof a)) die("bind");
    if (listen(fd, 4096)) die("listen");
    return fd;
}
