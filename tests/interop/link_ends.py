# SPDX-License-Identifier: BSL-1.0
"""Ends that take their time, against link_ends.cpp: graceful closes, idle peers, peers that have stopped; and urgent data."""
import os
import random
import select
import signal
import socket
import time

from harness import (KIB, MIB, SANITIZED, Background, Sample, at_once, check, receive_all, receive_exactly, reset, run,
                     settles, until)


def count_all(client):
    total = 0
    while piece := client.recv(256 * KIB):
        total += len(piece)
    return total


def a_client_that_talks_first_gets_every_byte_a_thousand_times():
    """The "sender" experiment of the muduo-recipes: unread input at the close must not cost the tail."""
    size = MIB + 11
    with Sample("link_ends", "send", size, threads=2) as server:
        base = server.fds()
        for turn in range(100 if SANITIZED else 1000):
            with server.connect() as client:
                client.sendall(b"hello, you\n")
                if turn % 4 == 1:
                    client.sendall(b"x" * 100_000)
                if turn % 4 == 2:
                    client.shutdown(socket.SHUT_WR)
                got = count_all(client)
                check(got == size, f"{got} of {size} bytes, at the {turn}th time")
        server.back_to(base, "after all of them")


def a_reply_of_100_MiB_after_the_clients_end_is_whole():
    with Sample("link_ends", "send", 100 * MIB, threads=2) as server, server.connect() as client:
        client.shutdown(socket.SHUT_WR)
        check(count_all(client) == 100 * MIB, "less, or more")


def clients_killed_during_a_gigabyte_leave_nothing():
    with Sample("link_ends", "send", 10 ** 9, threads=2) as server:
        base = server.fds()
        for _ in range(10 if SANITIZED else 100):
            readable, told = os.pipe()
            children = []
            for _ in range(10):
                pid = os.fork()
                if pid == 0:
                    try:
                        client = server.connect()
                        client.recv(random.randrange(1, 300_000))
                        os.write(told, b"x")
                        while client.recv(256 * KIB):
                            pass
                    finally:
                        os._exit(1)
                children.append(pid)
            os.close(told)
            for _ in children:
                check(select.select([readable], [], [], 20)[0] and os.read(readable, 1), "a client gets nothing")
            os.close(readable)
            for pid in children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        server.back_to(base, "after the killed clients")


def idle_clients_are_closed_in_time_and_active_ones_are_kept():
    with Sample("link_ends", "idle", 1500) as server:
        base = server.fds()
        with server.connect() as idle, server.connect() as active:
            began = time.monotonic()

            def stay_active():
                while time.monotonic() < began + 4:
                    active.sendall(b"x")
                    receive_exactly(active, 1)
                    time.sleep(0.05)
            busy = Background(stay_active)
            idle.sendall(b"hello")
            receive_exactly(idle, 5)
            check(idle.recv(1) == b"", "something else than the end")
            took = time.monotonic() - began
            check(1.5 <= took < (6 if SANITIZED else 2.5), f"after {took:.2f} s")
            busy.result()
        server.back_to(base, "after both")


def answering(server, delay):
    """A client in a process of its own that answers each ping `delay` seconds after it came."""
    readable, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            client = server.connect()
            due, heard = [], 0
            while True:
                wait = max(0.0, due[0] - time.monotonic()) if due else 5
                if select.select([client], [], [], wait)[0]:
                    piece = client.recv(100)
                    if not piece:
                        break
                    due += [time.monotonic() + delay] * piece.count(b"\n")
                while due and due[0] <= time.monotonic():
                    due.pop(0)
                    client.sendall(b"pong\n")
                    heard += 1
                    os.write(told, b"x")
        finally:
            os._exit(1)
    os.close(told)
    return pid, readable


def a_peer_that_is_stopped_is_found_in_time():
    shortest, longest, misses = 100, 400, 3
    bound = (3 * longest + misses * shortest) / 1000
    with Sample("link_ends", "heartbeat", shortest, longest, misses, stderr_allowed="a peer is dead") as server:
        base = server.fds()
        for pongs in 1, 3, 6, 9:
            pid, readable = answering(server, 0)
            for _ in range(pongs):
                check(select.select([readable], [], [], 20)[0] and os.read(readable, 1), "no pong")
            os.close(readable)
            os.kill(pid, signal.SIGSTOP)
            began = time.monotonic()
            try:
                until(lambda: server.fds() <= base, "its end", bound + (5 if SANITIZED else 0.5))
                print(f"  stopped after {pongs} pongs: found after {time.monotonic() - began:.2f} s, {bound} s are allowed")
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def a_peer_that_answers_late_is_kept():
    with Sample("link_ends", "heartbeat", 200, 400, 3) as server:
        pid, readable = answering(server, 0.35)  # 3 * 0.2 are borne
        try:
            for _ in range(10):
                check(select.select([readable], [], [], 20)[0] and os.read(readable, 1) == b"x", "the peer was taken for dead")
        finally:
            os.close(readable)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def urgent_bytes_do_no_harm():
    with Sample("echo") as echo:
        for pause in 0, 0.001:
            with echo.connect() as client:
                for turn in range(200):
                    client.sendall(b"before")
                    client.send(b"!", socket.MSG_OOB)
                    if pause and turn % 10 == 0:
                        time.sleep(pause)
                    client.sendall(b"after\n")
                client.shutdown(socket.SHUT_WR)
                # A later urgent byte makes an earlier one a part of the stream, as tcp(7) has it.
                got = receive_all(client).replace(b"!", b"")
                check(got == b"beforeafter\n" * 200, f"{len(got)} bytes came back, or others")
        with echo.connect() as client:
            client.send(b"!", socket.MSG_OOB)
            settles(lambda: len(echo.sockets("ESTABLISHED")), quiet=0.2)
            busy = echo.cpu_total()
            time.sleep(0.5)
            check(echo.cpu_total() - busy < 0.1, "an urgent byte keeps the server busy")
            client.sendall(b"and on")
            check(receive_exactly(client, 6) == b"and on", "another echo")
            reset(client)


run(a_client_that_talks_first_gets_every_byte_a_thousand_times,
    a_reply_of_100_MiB_after_the_clients_end_is_whole,
    clients_killed_during_a_gigabyte_leave_nothing,
    at_once(
        idle_clients_are_closed_in_time_and_active_ones_are_kept,
        a_peer_that_is_stopped_is_found_in_time,
        a_peer_that_answers_late_is_kept),
    urgent_bytes_do_no_harm)
