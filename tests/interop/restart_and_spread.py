# SPDX-License-Identifier: BSL-1.0
"""A server comes back at once on the port of its predecessor; --spread does what it says, as far as it shows outside."""
import collections
import contextlib
import os
import re
import signal
import socket

from harness import BACKEND, KIB, Sample, Skip, check, not_under_sanitizers, round_trip, run, tcp_sockets, until

SPREADS = "round-robin", "least-loaded", "by-peer", "reuse-port"


def clients_of(server, count=20):
    clients = [server.connect() for _ in range(count)]
    for client in clients:
        round_trip(client)
    return clients


def a_stopped_servers_port_is_free_at_once():
    for name in SPREADS:
        with Sample("echo", "--spread", name, "--spin", "0", "--grace", "1", threads=2) as first:
            clients = clients_of(first)
            first.stop(within=9)  # the clients stay: their connections wait for them
        with Sample("echo", "--spread", name, "--spin", "0", listen=first.address, threads=2) as second, second.connect() as client:
            round_trip(client)
        for client in clients:
            client.close()


def a_killed_servers_port_is_free_at_once():
    for name in SPREADS:
        first = Sample("echo", "--spread", name, "--spin", "0", threads=2)
        clients = clients_of(first)
        os.kill(first.pid, signal.SIGKILL)
        first.wait(code=-signal.SIGKILL)
        if BACKEND == "uring":
            # The kernel takes a dead process's ring down in the background, and with it what the ring held: the socket
            # listens a moment longer than the process lives. Not for longer than that, though.
            until(lambda address=first.address: not listens(address), "the port is free", 2)
        with Sample("echo", "--spread", name, "--spin", "0", listen=first.address, threads=2) as second, second.connect() as client:
            round_trip(client)
        for client in clients:
            client.close()


def time_waits_refused():
    """How often the kernel's table of connections in TIME_WAIT, which all programs of this machine share, was full."""
    with open("/proc/net/netstat", encoding="ascii") as table:
        names, values = (next(table).split() for _ in range(2))
    return int(values[names.index("TCPTimeWaitOverflow")])


def a_port_with_connections_in_time_wait_is_free_at_once():
    refused = time_waits_refused()
    for name in SPREADS:
        first = Sample("echo", "--spread", name, "--spin", "0", threads=2)
        clients = clients_of(first)
        os.kill(first.pid, signal.SIGTERM)  # the server ends its direction first, so that TIME_WAIT is its
        for client in clients:
            check(client.recv(1) == b"", "something else than the end")
            client.close()
        first.wait()
        left = [entry for entry in tcp_sockets() if entry[0] == first.port]
        if time_waits_refused() > refused:
            raise Skip("the kernel has no room for more connections in TIME_WAIT")
        check(sum(entry[2] == "TIME_WAIT" for entry in left) == len(clients), f"on the port: {left}")
        with Sample("echo", "--spread", name, "--spin", "0", listen=first.address, threads=2) as second, second.connect() as client:
            round_trip(client)


def listens(address):
    return any(entry[0] == int(address.rsplit(":", 1)[1]) and entry[2] == "LISTEN" for entry in tcp_sockets())


# Servers here do not spin: the kernel counts a thread's processor time when it gives the processor away.
def worker_of(server, client):
    """The thread that serves the connection: the one whose processor time its traffic adds to."""
    round_trip(client)  # accepted, and at its worker
    before = server.cpu()
    for _ in range(10):
        round_trip(client, b"x" * 4 * KIB)
    after = server.cpu()
    used = {thread: after[thread] - before.get(thread, 0) for thread in after}
    busiest = max(used, key=used.get)
    check(used[busiest] > 0 and used[busiest] > 2 * (sum(used.values()) - used[busiest]), f"no one thread serves it: {used}")
    return busiest


@contextlib.contextmanager
def spread(name):
    """(the server, a function that connects one client)"""
    not_under_sanitizers("they have threads of their own, and who serves is told by processor time")
    with Sample("echo", "--spread", name, "--spin", "0", threads=2) as echo, contextlib.ExitStack() as stack:
        if not any(echo.cpu().values()):
            raise Skip("the kernel does not count the processor time of threads in nanoseconds")
        yield echo, lambda: stack.enter_context(echo.connect())


def in_epoll_sets(server):
    """How many sockets are in each of the server's epoll sets, as the kernel tells, least first."""
    folder = f"/proc/{server.pid}"
    kinds = {fd: os.readlink(f"{folder}/fd/{fd}") for fd in os.listdir(f"{folder}/fd")}
    counts = []
    for fd in (fd for fd, kind in kinds.items() if "[eventpoll]" in kind):
        with open(f"{folder}/fdinfo/{fd}", encoding="ascii") as info:
            members = re.findall(r"^tfd:\s+(\d+)", info.read(), re.MULTILINE)
        counts.append(sum(kinds.get(member, "").startswith("socket:") for member in members))
    return sorted(counts)


def shares(server, clients):
    """How many of the connections each of the two workers has, least first."""
    for client in clients:  # else accepting the last of them is counted as the traffic of the first
        round_trip(client)
    counted = collections.Counter(worker_of(server, client) for client in clients)
    return sorted(counted[thread] for thread in server.cpu())


def round_robin_gives_each_worker_every_second_connection():
    with spread("round-robin") as (echo, connect):
        workers = [worker_of(echo, connect()) for _ in range(100)]
        check(len(set(workers)) == 2 and len(set(workers[0::2])) == len(set(workers[1::2])) == 1, f"in this order: {workers}")
    with spread("round-robin") as (echo, connect):
        clients = [connect() for _ in range(100)]
        for client in clients:
            round_trip(client)
        if BACKEND == "epoll":  # exact; the hundred and first is the listening socket
            check(in_epoll_sets(echo) == [50, 51], f"of 100 at once and the listener: {in_epoll_sets(echo)}")
        else:
            halves = shares(echo, clients)
            check(halves == [50, 50], f"of 100 at once, by whose processor time their traffic takes: {halves}")


def least_loaded_keeps_the_workers_even():
    with spread("least-loaded") as (echo, connect):
        clients = [connect() for _ in range(60)]
        check(shares(echo, clients) == [30, 30], f"of 60 at once: {shares(echo, clients)}")
        workers = [worker_of(echo, client) for client in clients]
        fds = echo.fds()
        for client, worker in zip(clients, workers):
            if worker == workers[0]:
                client.close()
        until(lambda: echo.fds() == fds - 30, "thirty are gone")
        new = shares(echo, [connect() for _ in range(30)])
        check(new == [0, 30], f"the worker that had 30 left and the one that had none get {new} of 30 new ones")


def reuse_port_leaves_it_to_the_kernel():
    with spread("reuse-port") as (echo, connect):
        # The ready line comes with the first of the workers' sockets.
        until(lambda: sum(entry[0] == echo.port and entry[2] == "LISTEN" for entry in tcp_sockets()) == 2, "both listen")
        halves = shares(echo, [connect() for _ in range(100)])
        print(f"  the kernel gave the workers {halves}")
        check(halves[0] >= 20, f"one worker has only {halves[0]} of 100")  # a fair coin: 1 in a billion


def by_peer_gives_a_client_address_to_one_worker():
    with spread("by-peer") as (echo, _):
        where = collections.defaultdict(set)
        with contextlib.ExitStack() as stack:
            for number in range(40):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", echo.port), 20,
                                                                      (f"127.0.1.{1 + number % 10}", 0)))
                where[number % 10].add(worker_of(echo, client))
        check(all(len(workers) == 1 for workers in where.values()), f"workers of the addresses: {dict(where)}")
        check(len(set.union(*where.values())) == 2, "ten addresses are all served by one worker")


run(a_stopped_servers_port_is_free_at_once,
    a_port_with_connections_in_time_wait_is_free_at_once,
    a_killed_servers_port_is_free_at_once,
    round_robin_gives_each_worker_every_second_connection,
    least_loaded_keeps_the_workers_even,
    by_peer_gives_a_client_address_to_one_worker,
    reuse_port_leaves_it_to_the_kernel)
