# SPDX-License-Identifier: BSL-1.0
"""A thousand clients push without reading, beside one that asks and reads: the one is served at once, memory is bounded,
and when the thousand have gone, no descriptor of them is left, and the next thousands stay
within the same bound.

The bound on the server's growth: what echo may hold for each stuck client is a Chunk in sending and the Link's read-ahead of
64 KiB, each at most one buffer or batch above that."""
import contextlib
import os
import selectors
import signal
import time

from harness import KIB, MIB, Sample, Skip, check, connect, not_under_sanitizers, round_trip, run, settles, until

PUSHERS = 1000
WAVES = 5
BOUND = PUSHERS * 192 * KIB + 16 * MIB
FOREIGN = 0.3  # of one processor, used by others: above it a late reply is no evidence
LATENCY = 0.25  # 99th percentile, in seconds, while they push and when all are stuck


def push(target, ready):
    """Keeps 1,000 connections full, until it is killed. Small buffers of its own: the server is stuck soon."""
    family, address = target
    block = os.urandom(32 * KIB)
    with selectors.DefaultSelector() as selector:
        for _ in range(PUSHERS):
            client = connect(address, family, receive_buffer=4 * KIB, send_buffer=16 * KIB)
            client.setblocking(False)
            selector.register(client, selectors.EVENT_WRITE)
        os.write(ready, b"x")
        while True:
            for key, _ in selector.select():
                try:
                    key.fileobj.send(block)
                except BlockingIOError:
                    pass


def processor_time():
    """Seconds that all processors together have been busy."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_time(pids):
    """Seconds of processor time of these processes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def round_trips(client, seconds, pids):
    """Fails when they take too long while the machine is ours; what others do to it is told by their processor time alone,
    not by the result. Three windows that others disturb make no test."""
    for _ in range(3):
        times, began, busy, own = [], time.monotonic(), processor_time(), own_time(pids)
        while time.monotonic() < began + seconds:
            sent = time.monotonic()
            round_trip(client, b"x" * 100)
            times.append(time.monotonic() - sent)
            time.sleep(0.002)
        foreign = (processor_time() - busy - (own_time(pids) - own)) / (time.monotonic() - began)
        times.sort()
        p99 = times[len(times) * 99 // 100]
        print(f"  {len(times)} round trips: p50 {times[len(times) // 2] * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, "
              f"longest {times[-1] * 1e3:.2f} ms; others use {foreign * 100:.0f} % of a processor")
        if p99 < LATENCY:
            return
        check(foreign > FOREIGN, f"p99 of the round trips: {p99 * 1e3:.0f} ms")
    raise Skip(f"others use the machine: p99 was {p99 * 1e3:.0f} ms, which says nothing of the server")


@contextlib.contextmanager
def pushers(echo, base):
    readable, ready = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            push(echo.target, ready)
        finally:
            os._exit(1)
    try:
        check(os.read(readable, 1), "the pushers do not connect")
        until(lambda: echo.fds() >= base + PUSHERS, "all are accepted")
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(readable)
        os.close(ready)
    echo.back_to(base, "after the pushers")


def beside_pushers(listen):
    with Sample("echo", "--grace", "1", listen=listen, threads=2) as echo, echo.connect() as client:
        round_trip(client)
        fds, rss = echo.fds(), echo.rss()
        with pushers(echo, fds) as child:
            pids = echo.pid, child, os.getpid()
            round_trips(client, 2.0, pids)
            settles(lambda: round(echo.cpu_total(), 1), quiet=1.0, seconds=30)
            round_trips(client, 1.0, pids)
            first = echo.rss() - rss
        round_trip(client)
        # Five thousand more, a thousand at a time: the bound is for all of them, so nothing adds up from wave to wave. How much
        # of it goes back to the system in between is the allocator's choice, and is told, not judged.
        peaks, after = [first], []
        for _ in range(WAVES):
            with pushers(echo, fds):
                settles(lambda: round(echo.cpu_total(), 1), quiet=0.3, seconds=30)
                peaks.append(echo.rss() - rss)
            after.append(echo.rss() - rss)
        shown = ", ".join(f"{peak / MIB:.0f}" for peak in peaks)
        print(f"  grew by {shown} MiB in the waves; {after[-1] / MIB:.0f} MiB are kept; the bound is {BOUND / MIB:.0f} MiB")
        check(max(peaks) < BOUND, f"grew by {max(peaks) / MIB:.0f} MiB")
        round_trip(client)


def one_client_is_served_beside_1000_that_push_over_tcp():
    not_under_sanitizers("memory and time are measured")
    beside_pushers("127.0.0.1:0")


def one_client_is_served_beside_1000_that_push_over_unix_sockets():
    not_under_sanitizers("memory and time are measured")
    beside_pushers(f"unix:@chainring-interop-pushers-{os.getpid()}")


run(one_client_is_served_beside_1000_that_push_over_tcp,
    one_client_is_served_beside_1000_that_push_over_unix_sockets)
