# SPDX-License-Identifier: BSL-1.0
"""What an idle connection costs a server in memory of its own; the kernel's sockets are not counted.

From the growth of the process's Pss while many connections are opened. What the server allocates once and keeps is
not counted either: a first connection has echoed many messages before, so that a shared pool has been touched whole.
"""

import re
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .measure import LoadError

MESSAGE = bytes(i * 131 % 251 for i in range(16384))
FIRST_MESSAGES = 1024
PATIENCE = 10.0  # seconds


@dataclass(frozen=True)
class Memory:
    base: int        # bytes, with one connection
    unused: float    # bytes per connection that never carried anything
    used: float      # the same connections, after each has carried one message, one after the other


def per_connection(server, count):
    """Of a server that was started for this."""
    with ExitStack() as connections:

        def connect():
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
            return connections.enter_context(connection)

        try:
            first = connect()
            for _ in range(FIRST_MESSAGES):
                _exchange(server, first)
            base = _settled_bytes(server)
            idle = [connect() for _ in range(count)]
            unused = _settled_bytes(server)
            for connection in idle:
                _exchange(server, connection)
            used = _settled_bytes(server)
        except OSError as error:
            server.check_alive()
            raise LoadError(f"{server.name}: idle connections: {error}") from error
    return Memory(base, (unused - base) / count, (used - base) / count)


def _exchange(server, connection):
    connection.sendall(MESSAGE)
    answer = bytearray()
    while len(answer) < len(MESSAGE):
        chunk = connection.recv(len(MESSAGE) - len(answer))
        if not chunk:
            raise LoadError(f"{server.name}: closed by the server (end of stream)")
        answer += chunk
    if answer != MESSAGE:
        raise LoadError(f"{server.name}: DATA MISMATCH")


def _settled_bytes(server):
    """When every connection has been accepted and the server has nothing to do for a while."""
    deadline = time.monotonic() + PATIENCE
    quiet = 0
    before = None
    while quiet < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
        now = _cpu_ns(server.pid)
        quiet = quiet + 1 if now == before and not _waiting_to_be_accepted(server.port) else 0
        before = now
    server.check_alive()
    match = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{server.pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(match[1]) * 1024


def _cpu_ns(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def _waiting_to_be_accepted(port):
    """The receive queue of a listener is its accept queue; proc(5), /proc/net/tcp."""
    waiting = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, queues, *_ = line.split()
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                waiting += int(queues.partition(":")[2], 16)
    return waiting
