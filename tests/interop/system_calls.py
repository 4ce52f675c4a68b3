# SPDX-License-Identifier: BSL-1.0
"""The system calls of a server, as strace sees them: each backend waits with its own call only, and an idle one makes none.
"""
import collections
import contextlib
import os
import re
import subprocess
import tempfile
import time

from harness import BACKEND, KIB, Sample, Skip, check, not_under_sanitizers, round_trip, run, settles, tool

IDLE_SECONDS = 10
CALL = re.compile(r"^(?:\d+ +)?(?:<\.\.\. )?(\w+)(?:\(| resumed)")


class Traced(contextlib.ExitStack):
    """A sample under strace -f, with the log of every call of every thread."""

    def __init__(self, name, arguments=(), **options):
        super().__init__()
        not_under_sanitizers("the leak checker does not work under ptrace")
        strace = tool("strace")
        if subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True, check=False).returncode != 0:
            raise Skip("ptrace is not permitted here")
        folder = self.enter_context(tempfile.TemporaryDirectory())
        self.log = f"{folder}/calls"
        self.sample = self.enter_context(Sample(name, *arguments, prefix=(strace, "-f", "-qq", "-o", self.log), **options))

    def size(self):
        return os.path.getsize(self.log)

    def calls(self):
        with open(self.log, encoding="utf-8", errors="replace") as lines:
            found = (CALL.match(line) for line in lines)
            return collections.Counter(match[1] for match in found if match)


def only_the_backends_own_wait_is_used_under_traffic():
    with Traced("echo", threads=2) as traced:
        clients = [traced.sample.connect() for _ in range(8)]
        for _ in range(10):
            for client in clients:
                round_trip(client, b"x" * 3 * KIB)
        for client in clients:
            client.close()
        traced.sample.stop()
        calls = traced.calls()
    print(f"  {dict(calls.most_common(12))}")
    waits = [name for name in calls if name.startswith(("epoll_wait", "epoll_pwait"))]
    if BACKEND == "uring":
        check(calls["io_uring_enter"] > 0, "no io_uring_enter")
        check(not waits, f"{waits} under io_uring")
    else:
        check(waits, "no epoll_wait")
        check(calls["io_uring_enter"] == 0, "io_uring_enter under epoll")
        check(calls["io_uring_setup"] == 0, "io_uring_setup under epoll, which was asked for by name")


def sockets_are_made_close_on_exec_and_with_their_options():
    with Sample("echo") as echo, Traced("relay", arguments=(echo.address,)) as traced:
        with traced.sample.connect() as client:
            round_trip(client)
        traced.sample.stop()
        with open(traced.log, encoding="utf-8", errors="replace") as log:
            lines = log.read().splitlines()
    streams = [line for line in lines if re.search(r"\b(socket|accept4)\(", line) and "AF_UNIX" not in line]
    check(streams and all("SOCK_CLOEXEC" in line for line in streams), f"sockets: {streams}")
    settings = [line for line in lines if "setsockopt(" in line]
    for option in "SO_REUSEADDR, [1]", "TCP_NODELAY, [1]":
        check(any(option in line for line in settings), f"no {option} in {settings}")


def an_idle_server_makes_no_system_call_for_ten_seconds():
    with Traced("echo", threads=2) as traced:
        server = traced.sample
        clients = [server.connect() for _ in range(10)]
        for client in clients:
            round_trip(client)
        size = settles(traced.size, quiet=0.3)
        with open(traced.log, encoding="utf-8", errors="replace") as log:
            log.seek(size)
            cpu = server.cpu()
            time.sleep(IDLE_SECONDS)
            made = log.read()
        check(made == "", f"an idle server called the kernel: {made[:600]}")
        check(server.cpu() == cpu, f"processor time went on: {cpu}, {server.cpu()}")
        for client in clients:
            round_trip(client)
            client.close()


run(only_the_backends_own_wait_is_used_under_traffic,
    sockets_are_made_close_on_exec_and_with_their_options,
    an_idle_server_makes_no_system_call_for_ten_seconds)
