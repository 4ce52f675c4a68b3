# SPDX-License-Identifier: BSL-1.0
"""A client that pushes and never reads is held back by its own window: the server's memory stays flat, and once nothing
moves any more the server does nothing either."""
import time

from harness import MIB, Sample, check, listening, not_under_sanitizers, push_until_stuck, run, until

WANTED = 500 * MIB
GROWTH = 24 * MIB
IDLE_CPU = 0.02  # seconds of processor time in one second of being stuck


def probes_a_closed_window(client):
    """Whether the kernel's timer of this socket is the one that asks whether the peer's window has opened again."""
    ports = [f"{end[1]:04X}" for end in (client.getsockname(), client.getpeername())]
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            field = line.split()
            if [field[1][-4:], field[2][-4:]] == ports:
                return field[5].startswith("04:")
    return False


def held_back(server):
    not_under_sanitizers("memory is counted")
    with server.connect() as client:
        base = server.rss()
        pushed = push_until_stuck(client, WANTED)
        grown = server.rss() - base
        print(f"  {server.name}: took {pushed / MIB:.1f} MiB, grew by {grown / MIB:.1f} MiB")
        check(pushed < WANTED, "the client was never held back")
        until(lambda: probes_a_closed_window(client), "the server's window is closed")
        check(grown < GROWTH, f"the server grew by {grown / MIB:.1f} MiB")
        before, began = server.cpu_total(), time.monotonic()
        time.sleep(1.0)
        used = (server.cpu_total() - before) / (time.monotonic() - began)
        check(used < IDLE_CPU, f"stuck, the server still uses {used * 100:.1f} % of a processor")
        check(server.rss() - base < GROWTH, "the server grew later")


def echo_holds_back_a_client_that_never_reads():
    with Sample("echo") as echo:
        held_back(echo)


def relay_holds_back_a_client_whose_echo_is_not_read():
    with Sample("echo") as echo, Sample("relay", echo.address) as relay:
        held_back(relay)


def relay_holds_back_a_client_whose_target_never_reads():
    # What the client pushed still waits for the target at the end: it may, for the grace period.
    with listening() as target, Sample("relay", f"127.0.0.1:{target.getsockname()[1]}", "--grace", "1") as relay:
        held_back(relay)


def a_stuck_connection_ends_with_the_grace_period():
    with Sample("echo", "--grace", "1") as echo, echo.connect() as client:
        push_until_stuck(client, WANTED, quiet=0.5)
        took = echo.stop(within=5)
        check(took > 0.8, f"ended after {took:.2f} s: what was begun had a second to go on")


run(echo_holds_back_a_client_that_never_reads,
    relay_holds_back_a_client_whose_echo_is_not_read,
    relay_holds_back_a_client_whose_target_never_reads,
    a_stuck_connection_ends_with_the_grace_period)
