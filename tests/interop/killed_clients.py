# SPDX-License-Identifier: BSL-1.0
"""Clients that are killed with SIGKILL in mid-transfer leave no descriptor, no socket and no task behind.

That no task is left shows at the end: the server exits as soon as it gets SIGTERM instead of after its grace."""
import os
import select
import signal

from harness import KIB, Sample, check, connect, run

KILLS = 200
AT_ONCE = 10


def transfer(client, number, told):
    """Without end. Every second client does not read, every fifth writes lines."""
    block = b"a line of chat\n" * 100 if number % 5 == 0 else os.urandom(48 * KIB)
    client.setblocking(False)
    moved = 0
    while True:
        select.select([client], [client], [])
        try:
            moved += client.send(block)
            if number % 2 == 0:
                client.recv(64 * KIB)
        except BlockingIOError:
            pass
        if moved > 100 * KIB:
            os.write(told, b"x")  # now in mid-transfer
            moved = -1 << 60      # told once


def child(target, number, told, again):
    """With `again` it connects anew where the server has disconnected it, as chat does with those who do not read and with
    lines that are too long."""
    family, address = target
    while True:
        try:
            transfer(connect(address, family), number, told)
        except ConnectionError:
            if not again:
                raise


def kill_clients(server, base, again=False):
    for first in range(0, KILLS, AT_ONCE):
        readable, told = os.pipe()
        children = []
        for number in range(first, first + AT_ONCE):
            pid = os.fork()
            if pid == 0:
                try:
                    child(server.target, number, told, again)
                finally:
                    os._exit(1)
            children.append(pid)
        os.close(told)
        # A client that had to connect anew tells of itself again: some may be killed before they have begun.
        for _ in children:
            check(select.select([readable], [], [], 20)[0] and os.read(readable, 1), "a client transfers nothing")
        os.close(readable)
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            check(os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL, "a client ended by itself")
    server.back_to(base, f"after {KILLS} killed clients")


def touched(server):
    """One ordinary connection first, so that what is set up once is there; then the number of descriptors."""
    before = server.fds()
    with server.connect() as client:
        client.sendall(b"hello\n")
    server.back_to(before, "after one ordinary client")
    return before


def echo_forgets_killed_clients():
    with Sample("echo", threads=2) as echo:
        kill_clients(echo, touched(echo))


def relay_forgets_killed_clients():
    with Sample("echo") as echo, Sample("relay", echo.address, threads=2) as relay:
        base_of_echo, base = echo.fds(), touched(relay)
        kill_clients(relay, base)
        echo.back_to(base_of_echo, "the echo behind the relay")


def chat_forgets_killed_clients():
    with Sample("chat", threads=2) as chat:
        kill_clients(chat, touched(chat), again=True)


run(echo_forgets_killed_clients, relay_forgets_killed_clients, chat_forgets_killed_clients)
