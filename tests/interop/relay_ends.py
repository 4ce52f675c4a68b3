# SPDX-License-Identifier: BSL-1.0
"""How relay passes on the ends of connections: half close both ways, refusal, death, and nothing left behind."""
import contextlib
import os
import signal
import socket
import time

from harness import (MIB, Background, Sample, check, free_port, listening, receive_all, receive_digest, receive_exactly, reset,
                     round_trip, run, send_random, tcp_sockets, until)


@contextlib.contextmanager
def relayed(**options):
    """(the relay, a client of it, the target's end of the same connection)"""
    with listening() as server, Sample("relay", f"127.0.0.1:{server.getsockname()[1]}", **options) as relay:
        with relay.connect() as client:
            target, _ = server.accept()
            with target:
                target.settimeout(20)
                yield relay, client, target


def the_clients_half_close_reaches_the_target_and_the_reply_comes_back():
    with relayed() as (_, client, target):
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        check(receive_all(target) == b"question", "the target got something else")
        target.sendall(b"answer")
        target.close()
        check(receive_all(client) == b"answer", "the client got something else")


def the_targets_half_close_reaches_the_client_who_goes_on():
    with relayed() as (_, client, target):
        target.sendall(b"greeting")
        target.shutdown(socket.SHUT_WR)
        check(receive_all(client) == b"greeting", "the client got something else")
        for _ in range(100):
            client.sendall(b"x" * 10_000)
        client.shutdown(socket.SHUT_WR)
        check(len(receive_all(target)) == 1_000_000, "the target got less")


def a_reply_of_100_MB_after_the_clients_end_arrives_whole():
    with relayed() as (_, client, target):
        client.sendall(b"all of it, please")
        client.shutdown(socket.SHUT_WR)
        receive_all(target)
        reply = Background(send_random, target, 100_000_000)
        check(receive_digest(client) == (100_000_000, reply.result()), "the reply came otherwise")


def a_refused_target_is_a_reset_for_the_client():
    port = free_port()
    with Sample("relay", f"127.0.0.1:{port}", stderr_allowed=f"cannot connect to 127.0.0.1:{port}: .*refused") as relay:
        base = relay.fds()
        for _ in range(20):
            try:
                with relay.connect() as client:
                    client.sendall(b"x")
                    check(client.recv(1) == b"never", "an orderly end instead of a reset")
            except ConnectionError:
                pass
        relay.back_to(base, "after refused targets")
        check("refused" in relay.complaints(), "relay says nothing")


def ends_with_a_reset(peer):
    try:
        while peer.recv(MIB):
            pass
    except ConnectionError:
        return True
    return False


def a_target_that_resets_is_a_reset_for_the_client():
    with relayed() as (relay, client, target):
        base = relay.fds() - 2
        client.sendall(b"x")
        receive_exactly(target, 1)
        reset(target)
        check(ends_with_a_reset(client), "an orderly end instead of a reset")
        relay.back_to(base, "after the reset")


def a_client_that_resets_is_a_reset_for_the_target():
    with relayed() as (relay, client, target):
        base = relay.fds() - 2
        client.sendall(b"x")
        receive_exactly(target, 1)
        reset(client)
        check(ends_with_a_reset(target), "an orderly end instead of a reset")
        relay.back_to(base, "after the reset")


def a_target_that_dies_in_mid_transfer_ends_the_client():
    echo = Sample("echo", threads=2)
    with Sample("relay", echo.address, threads=2) as relay:
        base = relay.fds()

        def stream(client):
            with client:
                moved, block = 0, os.urandom(64 << 10)
                try:
                    while True:
                        client.sendall(block)
                        piece = client.recv(MIB)
                        if not piece:
                            return moved
                        moved += len(piece)
                except ConnectionError:
                    return moved
        clients = [Background(stream, relay.connect()) for _ in range(10)]
        until(lambda: relay.cpu_total() > 0.1, "traffic")
        os.kill(echo.pid, signal.SIGKILL)
        echo.wait(code=-signal.SIGKILL)
        check(all(client.result() > 0 for client in clients), "a client had moved nothing")
        relay.back_to(base, "after the target's death")


def connections_that_come_and_go_leave_nothing():
    with Sample("echo", threads=2) as echo, Sample("relay", echo.address, threads=2) as relay:
        with relay.connect() as client:
            round_trip(client)
        time_base = time.monotonic()
        until(lambda: not relay.sockets("ESTABLISHED"), "the first one is gone")
        base, base_of_echo = relay.fds(), until(echo.fds, "descriptors")

        def churn(number):
            for turn in range(150):
                client = relay.connect()
                how = (number + turn) % 5
                if how == 0:
                    client.close()
                elif how == 1:
                    reset(client)
                elif how == 2:
                    round_trip(client)
                    client.close()
                elif how == 3:
                    client.sendall(b"x" * 100_000)
                    reset(client)
                else:
                    client.sendall(b"x" * 1000)
                    client.shutdown(socket.SHUT_WR)
                    check(len(receive_all(client)) == 1000, "a part of the echo")
                    client.close()
        workers = [Background(churn, number) for number in range(4)]
        for worker in workers:
            worker.result()
        relay.back_to(base, "after the churn")
        echo.back_to(base_of_echo, "after the churn, at the echo")
        print(f"  600 connections in {time.monotonic() - time_base:.1f} s")


def a_stop_of_relay_lets_a_transfer_end():
    with relayed() as (relay, client, target):
        client.sendall(b"x" * 1000)
        receive_exactly(target, 1000)
        os.kill(relay.pid, signal.SIGTERM)
        until(lambda: not any(entry[0] == relay.port and entry[2] == "LISTEN" for entry in tcp_sockets()), "it listens no more")
        reply = Background(send_random, target, 20_000_000)
        client.shutdown(socket.SHUT_WR)
        check(receive_digest(client) == (20_000_000, reply.result()), "the reply came otherwise")
        client.close()
        target.close()
        relay.wait(within=3)


run(the_clients_half_close_reaches_the_target_and_the_reply_comes_back,
    the_targets_half_close_reaches_the_client_who_goes_on,
    a_reply_of_100_MB_after_the_clients_end_arrives_whole,
    a_refused_target_is_a_reset_for_the_client,
    a_target_that_resets_is_a_reset_for_the_client,
    a_client_that_resets_is_a_reset_for_the_target,
    a_target_that_dies_in_mid_transfer_ends_the_client,
    connections_that_come_and_go_leave_nothing,
    a_stop_of_relay_lets_a_transfer_end)
