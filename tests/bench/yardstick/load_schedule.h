// SPDX-License-Identifier: BSL-1.0
//
// When the messages of an open loop are due: one every interval, whatever comes back, in turn on all connections.
// Message number k is due at begin + k * interval, on connection k % connections; so the number of a connection's
// answer tells when its message was due, and nothing needs to be kept for those that wait.
//
// Latency counts from that time: a server (or a generator) that stalls delays every message that was due meanwhile, and
// each of them shows it (the omission of those is what wrk2's author calls coordinated omission).
#pragma once

#include "load_stats.h"

static struct {
    double interval_ns;
    uint64_t begin_ns;
    uint64_t next;                       // the first message that has not been made sendable yet
    uint64_t first_counted, end_ns;      // the messages counted: from this number on, due before this time
    uint64_t counted, answered_counted;  // how many were due so far, and answered
} schedule;

static uint64_t due_ns(uint64_t number) {
    return schedule.begin_ns + (uint64_t)((double)number * schedule.interval_ns);
}

// The messages that are due within the measured time are counted, the first at its start.
static void schedule_begin(double rate) {
    schedule.interval_ns = 1e9 / rate;
    schedule.begin_ns = now_ns();
    schedule.end_ns = stats.end_ns;
    while (due_ns(schedule.first_counted) < stats.start_ns) schedule.first_counted++;
}

static bool is_counted(uint64_t number) {
    return number >= schedule.first_counted;
}

// Takes the next message that is due; false when there is none, as there is none after the measured time.
static bool next_due(uint64_t now, uint64_t* number) {
    uint64_t due = due_ns(schedule.next);
    if (due > now || due >= schedule.end_ns) return false;
    *number = schedule.next++;
    if (is_counted(*number)) {
        schedule.counted++;
        record(&stats.lateness, now - due);
    }
    return true;
}

static void schedule_answered(uint64_t number, uint64_t now) {
    if (!is_counted(number)) return;
    schedule.answered_counted++;
    record(&stats.latency, now - due_ns(number));
}
