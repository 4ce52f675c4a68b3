# SPDX-License-Identifier: BSL-1.0
"""A limit of 100 clients lets exactly 100 stay, tells the others, and holds nothing of them; a limit on the accept rate
lets nobody in faster, and loses nobody."""
import time

from harness import Sample, at_once, check, receive_all, round_trip, run, tcp_sockets, until

LIMIT, CLIENTS = 100, 150


def sort_out(clients):
    """(those that are served, those that were told that the server is busy)"""
    served, refused = [], []
    for client in clients:
        client.sendall(b"?")
    for client in clients:
        first = client.recv(1)
        if first == b"?":
            served.append(client)
        else:
            told = first + receive_all(client)
            check(told == b"busy\n", f"a client that is not served gets {told!r}")
            refused.append(client)
    return served, refused


def exactly_100_stay(threads, spread):
    with Sample("echo", "--max-clients", LIMIT, "--spread", spread, threads=threads) as echo:
        listening = threads if spread == "reuse-port" else 1
        until(lambda: sum(entry[0] == echo.port and entry[2] == "LISTEN" for entry in tcp_sockets()) == listening,
              f"{listening} sockets listen")
        base = echo.fds()
        clients = [echo.connect() for _ in range(CLIENTS)]
        served, refused = sort_out(clients)
        check(len(served) == LIMIT, f"{len(served)} of {CLIENTS} are served")
        check(len(refused) == CLIENTS - LIMIT, f"{len(refused)} are told that it is busy")
        for client in served:
            round_trip(client)
        # The refused do not close: the server does, after its three seconds.
        until(lambda: echo.fds() <= base + LIMIT, lambda: f"{echo.fds()} descriptors for {LIMIT} clients, {base} before")
        for client in served[:30]:
            client.close()
        for client in refused:
            client.close()
        until(lambda: echo.fds() <= base + LIMIT - 30, lambda: f"{echo.fds()} descriptors after 30 have left")
        more, refused = sort_out([echo.connect() for _ in range(50)])
        check(len(more) == 30, f"{len(more)} of 50 are served in the place of 30")
        for client in served[30:] + more + refused:
            client.close()
        echo.back_to(base, "after all have gone")


def one_worker_serves_exactly_100_of_150():
    exactly_100_stay(1, "round-robin")


def two_workers_together_serve_exactly_100_of_150():
    exactly_100_stay(2, "least-loaded")


def two_workers_with_a_socket_each_serve_exactly_100_of_150():
    exactly_100_stay(2, "reuse-port")


def a_refused_client_that_sends_without_end_is_closed_and_the_served_one_notices_nothing():
    with Sample("echo", "--max-clients", 1) as echo:
        with echo.connect() as served, echo.connect() as pusher:
            round_trip(served)
            check(pusher.recv(100) == b"busy\n", "not told that it is busy")
            began, block = time.monotonic(), bytes(1000)
            try:
                while time.monotonic() - began < 10:
                    pusher.sendall(block)
                    round_trip(served)
                    time.sleep(0.01)
            except ConnectionError:
                pass
            took = time.monotonic() - began
            print(f"  closed after {took:.1f} s")
            check(2.5 < took < 6, f"closed after {took:.1f} s")
            round_trip(served)


def connections_come_in_at_the_accept_rate_and_none_is_lost():
    rate, count = 40, 80
    with Sample("echo", "--accepts", rate, threads=2) as echo:
        base = echo.fds()
        before, began = echo.cpu_total(), time.monotonic()
        clients = [echo.connect() for _ in range(count)]
        accepted, allowed = echo.fds() - base, rate / 10 + (time.monotonic() - began) * rate
        check(accepted <= allowed + 1, f"{accepted} were accepted instead of waiting in the kernel, not {allowed:.1f}")
        for client in clients:
            client.sendall(b"?")
        for client in clients:
            check(client.recv(1) == b"?", "not served")
        took, used = time.monotonic() - began, echo.cpu_total() - before
        print(f"  {count} clients in {took:.2f} s, {used * 1000:.0f} ms of a processor")
        least = (count - rate / 10) / rate  # a tenth of a second's worth at once
        check(least - 0.05 <= took < least + 1, f"{count} clients at {rate} a second in {took:.2f} s, not {least:.2f}")
        check(used < 0.5, f"{used:.2f} s of a processor")
        for client in clients:
            client.close()
        echo.back_to(base, "after all have gone")


run(at_once(
    one_worker_serves_exactly_100_of_150,
    two_workers_together_serve_exactly_100_of_150,
    two_workers_with_a_socket_each_serve_exactly_100_of_150,
    a_refused_client_that_sends_without_end_is_closed_and_the_served_one_notices_nothing,
    connections_come_in_at_the_accept_rate_and_none_is_lost))
