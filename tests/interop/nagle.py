# SPDX-License-Identifier: BSL-1.0
"""Write, write, read: two small sends before each reply cost no delayed acknowledgement, for TCP_NODELAY is always set. Plain
sockets with Nagle's algorithm, the control, pay some 40 ms for each reply on a Linux loopback."""
import contextlib
import socket
import threading
import time

from harness import Sample, Skip, check, not_under_sanitizers, receive_exactly, run

ROUNDS = 100
REQUEST = 8 + 56


def answer(client, rounds):
    for _ in range(rounds):
        receive_exactly(client, REQUEST)
        client.sendall(b"!")


def control():
    """The same by plain sockets, without TCP_NODELAY where it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as asker:
        peer = listener.accept()[0]
        thread = threading.Thread(target=answer, args=(peer, ROUNDS))
        thread.start()
        began = time.monotonic()
        for _ in range(ROUNDS):
            asker.sendall(b"h" * 8)
            asker.sendall(b"b" * 56)
            receive_exactly(asker, 1)
        took = time.monotonic() - began
        thread.join()
        with contextlib.closing(peer):
            return took


def two_small_sends_before_a_reply_do_not_wait_for_an_acknowledgement():
    not_under_sanitizers("time is measured")
    with_nagle = control()
    with Sample("link_ends", "ask", ROUNDS) as server, server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)  # it writes once for each round; no matter
        began = time.monotonic()
        answer(client, ROUNDS)
        took = time.monotonic() - began
        check(client.recv(1) == b"", "something else than the end")
    print(f"  {ROUNDS} rounds in {took * 1e3:.1f} ms; with Nagle's algorithm {with_nagle * 1e3:.0f} ms")
    if with_nagle < 0.2:
        raise Skip("this kernel does not delay acknowledgements: nothing to tell apart")
    check(took < with_nagle / 4, f"{took * 1e3:.0f} ms for {ROUNDS} rounds")


run(two_small_sends_before_a_reply_do_not_wait_for_an_acknowledgement)
