// SPDX-License-Identifier: BSL-1.0
//
// A load generator for echo servers on 127.0.0.1: one thread, a fixed number of connections.
//
//   closed loop   a fixed number of messages in flight on each connection; a new one when an answer is there
//   open loop     -r: a fixed number of messages per second, whatever comes back; latency from when each was due
//   churn         -C: connect, one message, close; so many connections at a time
//
// usage: yardstick_load [-p port] [-n connections] [-s message bytes] [-D messages in flight per
// connection]
//                       [-d seconds] [-w seconds of warm-up] [-c cpu] [-P process id of the server]
//                       [-u io_uring engine instead of epoll] [-S microseconds to spin, epoll
//                       engine]
//                       [-r messages per second] [-C] [-R with -C: end by a reset]
//                       [-V compare every byte] [-q one line of key=value]
// In an open loop -D bounds the messages in flight per connection: what is due beyond that waits here (`held`), and its
// time counts. The generator never sleeps then, and reports how late it was itself: from when a message was due until
// it came to it. `req_s` is what was answered in the measured time, `offered_s` what was due in it; latencies are those
// of the messages that were due in it, answered within it or within a second after it, or not (`unanswered`). conn_min,
// conn_mean and conn_max are the messages answered on a connection in the measured time. With -C a request is a
// connection, and its latency the connection's.
//
// With -P it reports the CPU time that the server spent per request: the figure to compare when the
// generator is the limit. It reports its own use of its CPU (load_util) so that one can tell. Exit
// status: 0; 1 could not start; 2 bytes differed (-V); 3 a connection was closed or failed; 4 no
// progress.
#include "load_churn.h"
#include "load_epoll.h"
#include "load_uring.h"

#include <getopt.h>
#include <math.h>
#include <signal.h>

enum { STALL_SECONDS = 10 };

__attribute__((noreturn)) static void wrong_usage(const char* what) {
    fprintf(stderr, "yardstick_load: %s\n", what);
    exit(64);
}

static void parse_options(int argc, char** argv) {
    int option;
    while ((option = getopt(argc, argv, "p:n:s:d:D:c:P:uw:VqS:r:CR")) > 0) {
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
            case 'r':
                options.rate = atof(optarg);
                break;
            case 'C':
                options.churn = true;
                break;
            case 'R':
                options.reset = true;
                break;
            default:
                exit(64);
        }
    }
    if (options.connections < 1 || options.size < 1 || options.depth < 1 || options.rate < 0)
        wrong_usage("-n, -s and -D must be at least 1, and -r above 0");
    if (options.churn && (!options.uring || options.rate > 0 || options.depth != 1 || options.size > MAX_CHURN_SIZE))
        wrong_usage("-C needs -u and at most 65536 bytes, and goes without -r and -D");
}

static void make_message(void) {
    size_t size = (size_t)options.size;
    size_t total = size * ((size_t)options.depth + 1);
    burst_bytes = zeroed(total, 1);
    for (size_t i = 0; i < total; i++) burst_bytes[i] = (char)((i % size) * 131 + 7);
}

static int connect_one(int index) {
    enum { PER_ADDRESS = 20000 };  // below the number of ephemeral ports of one source address
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) die("yardstick_load: socket");
    set_tcp_options(fd);
    if (index >= PER_ADDRESS) {
        struct sockaddr_in source = loopback(INADDR_LOOPBACK + 1 + (uint32_t)(index / PER_ADDRESS), 0);
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
    double least, mean, most;  // messages answered per connection
    double offered_per_second;
    double server_us_per_request, server_util;
};

static void count_per_connection(struct result* r) {
    r->least = r->most = (double)connections[0].served;
    for (int i = 0; i < options.connections; i++) {
        double served = (double)connections[i].served;
        r->least = fmin(r->least, served);
        r->most = fmax(r->most, served);
        r->mean += served / options.connections;
    }
}

static struct result finish(void) {
    struct result r = {.seconds = (double)(stats.end_ns - stats.start_ns) / 1e9};
    uint64_t busy_ns = stats.own_cpu_ns > stats.idle_ns ? stats.own_cpu_ns - stats.idle_ns : 0;
    r.load_util = (double)busy_ns / 1e7 / r.seconds;
    r.requests_per_second = (double)stats.requests / r.seconds;
    if (!options.churn) count_per_connection(&r);
    if (options.rate > 0) r.offered_per_second = (double)schedule.counted / r.seconds;
    if (!options.server_pid) return r;
    double used = (double)stats.server_cpu_ns;
    r.server_util = used / 1e7 / r.seconds;
    if (stats.requests) r.server_us_per_request = used / 1e3 / (double)stats.requests;
    return r;
}

static void print_line(const struct result* r) {
    const struct histogram *latency = &stats.latency, *late = &stats.lateness;
    printf("conns=%d size=%d depth=%d seconds=%.4f requests=%llu req_s=%.1f", options.connections, options.size,
           options.depth, r->seconds, (unsigned long long)stats.requests, r->requests_per_second);
    printf(" p50_us=%.1f p90_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.0f", percentile_us(latency, .5),
           percentile_us(latency, .9), percentile_us(latency, .99), percentile_us(latency, .999),
           (double)latency->longest_ns / 1e3);
    if (options.rate > 0) {
        printf(" offered_s=%.1f held=%llu unanswered=%llu", r->offered_per_second, (unsigned long long)stats.held,
               (unsigned long long)stats.unanswered);
        printf(" late_p50_us=%.1f late_p99_us=%.1f late_max_us=%.0f", percentile_us(late, .5), percentile_us(late, .99),
               (double)late->longest_ns / 1e3);
    }
    if (!options.churn) printf(" conn_min=%.0f conn_mean=%.1f conn_max=%.0f", r->least, r->mean, r->most);
    printf(" load_util=%.1f", r->load_util);
    if (options.server_pid) printf(" server_us_req=%.4f server_util=%.1f", r->server_us_per_request, r->server_util);
    printf("\n");
}

static void print_text(const struct result* r) {
    const struct histogram *latency = &stats.latency, *late = &stats.lateness;
    printf("%d connections, %d bytes, depth %d: %.0f %s/s\n", options.connections, options.size, options.depth,
           r->requests_per_second, options.churn ? "connections" : "requests");
    if (options.rate > 0) {
        printf("offered: %.0f/s; held because of the depth: %llu; unanswered: %llu\n", r->offered_per_second,
               (unsigned long long)stats.held, (unsigned long long)stats.unanswered);
        printf("generator late by us: p50 %.1f  p99 %.1f  max %.0f\n", percentile_us(late, .5),
               percentile_us(late, .99), (double)late->longest_ns / 1e3);
    }
    printf("latency us: p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.0f\n", percentile_us(latency, .5),
           percentile_us(latency, .9), percentile_us(latency, .99), percentile_us(latency, .999),
           (double)latency->longest_ns / 1e3);
    if (!options.churn) printf("answers per connection: %.0f to %.0f, mean %.1f\n", r->least, r->most, r->mean);
    printf("generator: %.0f %% of its CPU%s\n", r->load_util, options.rate > 0 ? ", besides waiting" : "");
    if (options.server_pid) {
        printf("server: %.3f us of CPU per %s, %.0f %% of one CPU\n", r->server_us_per_request,
               options.churn ? "connection" : "request", r->server_util);
    }
}

int main(int argc, char** argv) {
    parse_options(argc, argv);
    pin_to_cpu(options.cpu);
    raise_fd_limit();
    signal(SIGPIPE, SIG_IGN);
    make_message();
    if (!options.churn) make_connections();
    start_clock();
    if (options.churn) {
        run_churn();
    } else if (options.uring) {
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
