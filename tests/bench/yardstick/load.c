// SPDX-License-Identifier: BSL-1.0
//
// A closed-loop load generator for echo servers on 127.0.0.1: one thread, a fixed number of
// connections, a fixed number of messages in flight on each.
//
// usage: yardstick_load [-p port] [-n connections] [-s message bytes] [-D messages in flight per
// connection]
//                       [-d seconds] [-w seconds of warm-up] [-c cpu] [-P process id of the server]
//                       [-u io_uring engine instead of epoll] [-S microseconds to spin, epoll
//                       engine]
//                       [-V compare every byte] [-q one line of key=value]
// With -P it reports the CPU time that the server spent per request: the figure to compare when the
// generator is the limit. It reports its own use of its CPU (load_util) so that one can tell. Exit
// status: 0; 1 could not start; 2 bytes differed (-V); 3 a connection was closed or failed; 4 no
// progress.
#include "load_epoll.h"
#include "load_uring.h"

#include <getopt.h>
#include <math.h>
#include <signal.h>

enum { STALL_SECONDS = 10 };

static void parse_options(int argc, char** argv) {
    int option;
    while ((option = getopt(argc, argv, "p:n:s:d:D:c:P:uw:VqS:")) > 0) {
        switch (option) {
            case 'p':
                options.port = atoi(optarg);
                break;
            case 'n':
                options.connections = atoi(optarg);
                break;
            case 's':
                options.size = atoi(optarg);
                break;
            case 'd':
                options.seconds = atof(optarg);
                break;
            case 'D':
                options.depth = atoi(optarg);
                break;
            case 'c':
                options.cpu = atoi(optarg);
                break;
            case 'P':
                options.server_pid = atoi(optarg);
                break;
            case 'u':
                options.uring = true;
                break;
            case 'w':
                options.warm_up = atof(optarg);
                break;
            case 'V':
                options.verify = true;
                break;
            case 'q':
                options.quiet = true;
                break;
            case 'S':
                options.spin_us = atoi(optarg);
                break;
            default:
                exit(64);
        }
    }
    if (options.connections < 1 || options.size < 1 || options.depth < 1) {
        fprintf(stderr, "yardstick_load: -n, -s and -D must be at least 1\n");
        exit(64);
    }
}

static void make_message(void) {
    size_t size = (size_t)options.size;
    size_t total = size * (size_t)options.depth;
    burst_bytes = zeroed(total, 1);
    for (size_t i = 0; i < total; i++) burst_bytes[i] = (char)((i % size) * 131 + 7);
}

static int connect_one(int index) {
    enum { PER_ADDRESS = 20000 };  // below the number of ephemeral ports of one source address
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) die("yardstick_load: socket");
    set_tcp_options(fd);
    if (index >= PER_ADDRESS) {
        struct sockaddr_in source =
            loopback(INADDR_LOOPBACK + 1 + (uint32_t)(index / PER_ADDRESS), 0);
        if (bind(fd, (struct sockaddr*)&source, sizeof source)) die("yardstick_load: bind");
    }
    struct sockaddr_in server = loopback(INADDR_LOOPBACK, options.port);
    if (connect(fd, (struct sockaddr*)&server, sizeof server)) die("yardstick_load: connect");
    return fd;
}

static void make_connections(void) {
    connections = zeroed((size_t)options.connections, sizeof *connections);
    for (int i = 0; i < options.connections; i++) {
        connections[i].sent_at = zeroed((size_t)options.depth, sizeof(uint64_t));
        connections[i].fd = connect_one(i);
    }
}

static void on_alarm(int signal_number) {
    (void)signal_number;
    static const char text[] = "yardstick_load: no progress, the server does not answer\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(EXIT_STALLED);
}

// The engines look at the clock only when something arrives; the alarm ends a run in which nothing
// does.
static void start_clock(void) {
    signal(SIGALRM, on_alarm);
    alarm((unsigned)ceil(options.warm_up + options.seconds) + STALL_SECONDS);
    stats.start_ns = now_ns() + (uint64_t)(options.warm_up * 1e9);
    stats.end_ns = stats.start_ns + (uint64_t)(options.seconds * 1e9);
}

struct result {
    double seconds, requests_per_second, load_util;
    double server_us_per_request, server_util;
};

static struct result finish(void) {
    struct result r = {.seconds = (double)(now_ns() - stats.start_ns) / 1e9};
    r.load_util = (double)(own_cpu_ns() - stats.own_cpu_ns) / 1e7 / r.seconds;
    r.requests_per_second = (double)stats.requests / r.seconds;
    if (!options.server_pid) return r;
    uint64_t cpu = process_cpu_ns(options.server_pid);
    if (cpu == 0) {
        fprintf(stderr, "yardstick_load: no process %d\n", options.server_pid);
        exit(EXIT_CLOSED);
    }
    double used = (double)(cpu - stats.server_cpu_ns);
    r.server_util = used / 1e7 / r.seconds;
    if (stats.requests) r.server_us_per_request = used / 1e3 / (double)stats.requests;
    return r;
}

static void print_line(const struct result* r) {
    printf("conns=%d size=%d depth=%d seconds=%.4f requests=%llu req_s=%.1f", options.connections,
           options.size, options.depth, r->seconds, (unsigned long long)stats.requests,
           r->requests_per_second);
    printf(" p50_us=%.1f p90_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.0f", percentile_us(.5),
           percentile_us(.9), percentile_us(.99), percentile_us(.999),
           (double)stats.longest_ns / 1e3);
    printf(" load_util=%.1f", r->load_util);
    if (options.server_pid)
        printf(" server_us_req=%.4f server_util=%.1f", r->server_us_per_request, r->server_util);
    printf("\n");
}

static void print_text(const struct result* r) {
    printf("%d connections, %d bytes, depth %d: %.0f requests/s\n", options.connections,
           options.size, options.depth, r->requests_per_second);
    printf("latency us: p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.0f\n", percentile_us(.5),
           percentile_us(.9), percentile_us(.99), percentile_us(.999),
           (double)stats.longest_ns / 1e3);
    printf("generator: %.0f %% of its CPU\n", r->load_util);
    if (options.server_pid) {
        printf("server: %.3f us of CPU per request, %.0f %% of one CPU\n", r->server_us_per_request,
               r->server_util);
    }
}

int main(int argc, char** argv) {
    parse_options(argc, argv);
    pin_to_cpu(options.cpu);
    raise_fd_limit();
    signal(SIGPIPE, SIG_IGN);
    make_message();
    make_connections();
    start_clock();
    if (options.uring) {
        run_uring();
    } else {
        run_epoll();
    }
    struct result r = finish();
    if (options.quiet) {
        print_line(&r);
    } else {
        print_text(&r);
    }
    return 0;
}
