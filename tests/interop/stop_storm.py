# SPDX-License-Identifier: BSL-1.0
"""relay (before an echo) and chat under load, stopped at a random moment: by SIGTERM or SIGINT, once or twice. The exit
code is 0 and nothing is on stderr; after one signal no reply and no line was cut. CHAINRING_ROUNDS, or the first
argument, is how many times each; CHAINRING_SEED repeats a run's choices."""
import os
import random
import signal
import sys
import threading
import time

from harness import KIB, Background, Sample, check, run

ROUNDS = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CHAINRING_ROUNDS", 25))
SEED = int(os.environ.get("CHAINRING_SEED", time.time_ns() % 1_000_000_007))
MESSAGE = 8 * KIB
CLIENTS = 8


def ask(server, begun, stopped):
    """Requests and their replies until the end, or until the relay was asked to stop: while it drains, a relay passes on
    what its clients begin, so they end it. Returns (bytes of a cut reply, whether it was a reset)."""
    request, got = os.urandom(MESSAGE), 0
    with server.connect() as client:
        begun.wait(20)
        while not stopped.is_set():
            got = 0
            try:
                client.sendall(request)
                while got < MESSAGE:
                    piece = client.recv(MESSAGE - got)
                    if not piece:
                        return got, False
                    check(piece == request[got:got + len(piece)], f"wrong bytes at {got}")
                    got += len(piece)
            except BrokenPipeError:
                return got, False
            except ConnectionResetError:
                return got, True
    return 0, False


def chatter(server, begun, stopped):
    """Lines without pause, and what the others say until the end; returns (what follows the last whole line, reset)."""
    rest = b""
    with server.connect() as client:
        begun.wait(20)

        def write():
            try:
                while not stopped.is_set():
                    client.sendall(b"x" * random.randint(0, 500) + b"\n")
                    time.sleep(0.001)
            except OSError:
                pass
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        was_reset = False
        try:
            while piece := client.recv(64 * KIB):
                rest = (rest + piece).rpartition(b"\n")[2]
        except ConnectionResetError:
            was_reset = True
        stopped.wait(20)
        writer.join(20)
    return len(rest), was_reset


def storm(client, server, rng):
    begun, stopped = threading.Barrier(CLIENTS + 1), threading.Event()
    clients = [Background(client, server, begun, stopped) for _ in range(CLIENTS)]
    begun.wait(20)
    time.sleep(rng.expovariate(1 / 0.02))  # the random moment, not a wait for something
    os.kill(server.pid, rng.choice((signal.SIGTERM, signal.SIGINT)))
    twice = rng.random() < 0.3
    if twice:
        time.sleep(rng.expovariate(1 / 0.002))
        if server.process.poll() is None:
            os.kill(server.pid, signal.SIGTERM)
    stopped.set()
    server.wait(8)
    ends = [one.result() for one in clients]
    if not twice:
        cut = [end for end in ends if end[0]]
        check(not cut, f"cut after one signal: {cut}")
    return twice


def rounds_of(start, client):
    rng, gentle, began = random.Random(SEED), 0, time.monotonic()
    for number in range(ROUNDS):
        try:
            gentle += not start(client, rng)
        except BaseException:
            print(f"  round {number}, CHAINRING_SEED={SEED}", flush=True)
            raise
    print(f"  {ROUNDS} stops, {gentle} of them by one signal, in {time.monotonic() - began:.1f} s; CHAINRING_SEED={SEED}")


def relay_is_stopped_at_any_moment():
    with Sample("echo", threads=1) as echo:
        def start(client, rng):
            with Sample("relay", echo.address, threads=rng.randint(1, 2)) as relay:
                return storm(client, relay, rng)
        rounds_of(start, ask)


def chat_is_stopped_at_any_moment():
    def start(client, rng):
        with Sample("chat", threads=rng.randint(1, 2)) as chat:
            return storm(client, chat, rng)
    rounds_of(start, chatter)


run(relay_is_stopped_at_any_moment, chat_is_stopped_at_any_moment)
