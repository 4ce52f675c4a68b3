// SPDX-License-Identifier: BSL-1.0
//
// What the load generator measures: histograms of latency and of its own lateness, the server's CPU time, its own CPU
// time.
#pragma once

#include "common.h"

#include <dirent.h>
#include <stdbool.h>

// Log-linear buckets: 64 rows, one per power of two, of 64 columns; the upper half of a row is in
// use, so a value is known to about 1.6 %.
enum { HISTOGRAM_COLUMNS = 64, HISTOGRAM_BUCKETS = 64 * HISTOGRAM_COLUMNS };

struct histogram {
    uint64_t count, longest_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static struct {
    bool measuring;                      // within the measured time
    uint64_t requests;                   // answered in it
    uint64_t start_ns, end_ns;           // of it
    uint64_t server_cpu_ns, own_cpu_ns;  // at its start; after its end: used in it
    uint64_t idle_ns;                    // open loop: of own_cpu_ns, spent in looking for work in vain
    struct histogram latency;
    struct histogram lateness;  // open loop: from when a message was due until the generator came to it
    uint64_t held;              // open loop: messages that were due while `depth` others were in flight
    uint64_t unanswered;        // open loop: messages without an answer when the run was given up
} stats;

static inline void record(struct histogram* h, uint64_t ns) {
    h->count++;
    if (ns > h->longest_ns) h->longest_ns = ns;
    int row = ns < HISTOGRAM_COLUMNS ? 0 : 63 - __builtin_clzll(ns) - 5;
    uint64_t mantissa = ns >> row;
    h->buckets[row * HISTOGRAM_COLUMNS + (int)(mantissa & (HISTOGRAM_COLUMNS - 1))]++;
}

// The time in microseconds that a fraction `p` of them did not exceed.
static double percentile_us(const struct histogram* h, double p) {
    uint64_t wanted = (uint64_t)((double)h->count * p);
    uint64_t seen = 0;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen <= wanted) continue;
        int row = i / HISTOGRAM_COLUMNS;
        double low = (double)((uint64_t)(i % HISTOGRAM_COLUMNS) << row);
        double half_width = row ? (double)(1ull << row) / 2.0 : 0;
        return (low + half_width) / 1e3;
    }
    return (double)h->longest_ns / 1e3;
}

// CPU time that all threads of the process have had, from /proc/PID/task/*/schedstat. Zero when it
// is gone.
static uint64_t process_cpu_ns(int pid) {
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR* directory = opendir(path);
    if (!directory) return 0;
    uint64_t total = 0;
    struct dirent* entry;
    while ((entry = readdir(directory))) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, entry->d_name);
        FILE* file = fopen(path, "r");
        if (!file) continue;
        unsigned long long ns;
        if (fscanf(file, "%llu", &ns) == 1) total += ns;
        fclose(file);
    }
    closedir(directory);
    return total;
}

static uint64_t own_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}
