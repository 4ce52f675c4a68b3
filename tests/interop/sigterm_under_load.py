# SPDX-License-Identifier: BSL-1.0
"""SIGTERM while clients ask without pause: a reply that was begun arrives whole, then the stream ends; exit 0.

Each request is 16 KiB in one send, which echo gets as one piece: so a reply is whole or has not been begun."""
import os
import random
import threading

from harness import KIB, Background, Sample, check, run, until

MESSAGE = 16 * KIB
CLIENTS = 32
ROUNDS = 10


def ask_until_the_end(server, connected, counts, number):
    """Returns how many bytes of a reply came before the end of the stream, when it came: 0 is a whole number of replies."""
    request = os.urandom(MESSAGE)
    with server.connect(timeout=30) as client:
        connected.wait(30)
        while True:
            got = 0
            try:
                client.sendall(request)
                while got < MESSAGE:
                    piece = client.recv(MESSAGE - got)
                    if not piece:
                        return got
                    check(piece == request[got:got + len(piece)], f"client {number}: wrong bytes at {got}")
                    got += len(piece)
            except (ConnectionResetError, BrokenPipeError):
                return got
            counts[number] += 1


def one_round(name, threads, target=()):
    with Sample(name, *target, threads=threads) as server:
        connected, counts = threading.Barrier(CLIENTS), [0] * CLIENTS
        clients = [Background(ask_until_the_end, server, connected, counts, number) for number in range(CLIENTS)]
        wanted = random.randint(CLIENTS, 40 * CLIENTS)
        until(lambda: sum(counts) > wanted, f"{wanted} replies", 30)
        took = server.stop(within=8)
        partial = [bytes_of for bytes_of in (client.result() for client in clients) if bytes_of]
        check(not partial, f"after {sum(counts)} replies {len(partial)} of {CLIENTS} clients got a part of one: {partial[:8]}")
        return took


def replies_that_echo_began_arrive_whole():
    longest = max(one_round("echo", 1 + round_ % 2) for round_ in range(ROUNDS))
    print(f"  the longest of {ROUNDS} stops took {longest:.2f} s")


def replies_through_relay_arrive_whole_when_the_echo_behind_it_stops():
    for round_ in range(3):
        with Sample("echo", threads=2) as echo, Sample("relay", echo.address, threads=1 + round_ % 2) as relay:
            connected, counts = threading.Barrier(CLIENTS), [0] * CLIENTS
            clients = [Background(ask_until_the_end, relay, connected, counts, number) for number in range(CLIENTS)]
            # Each client has a reply: relay has connected for all of them and meets no port that is closed already.
            until(lambda: min(counts) > 0 and sum(counts) > 10 * CLIENTS, "replies to each client", 30)
            echo.stop(within=8)
            partial = [bytes_of for bytes_of in (client.result() for client in clients) if bytes_of]
            check(not partial, f"{len(partial)} clients got a part of a reply: {partial[:8]}")


def idle_connections_see_the_end_and_do_not_hold_up_the_stop():
    def stay(client):
        with client:
            return client.recv(1)
    with Sample("echo", threads=2) as echo:
        idle = [Background(stay, echo.connect()) for _ in range(20)]
        until(lambda: len(echo.sockets("ESTABLISHED")) >= 20, "connections")
        took = echo.stop(within=8)
        check(all(client.result() == b"" for client in idle), "not the end of the stream")
        check(took < 1, f"{took:.2f} s")


run(replies_that_echo_began_arrive_whole,
    replies_through_relay_arrive_whole_when_the_echo_behind_it_stops,
    idle_connections_see_the_end_and_do_not_hold_up_the_stop)
