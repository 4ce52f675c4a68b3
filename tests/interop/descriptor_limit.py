# SPDX-License-Identifier: BSL-1.0
"""A server that is out of descriptors goes on serving those it has, does not spin, and takes the others as soon as it can."""
import resource
import time

from harness import Sample, at_once, check, round_trip, run, settles, until

LIMIT = 64
CLIENTS = 200


def limit_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


def served_and_waiting(clients):
    served = set()
    for client in clients:
        client.sendall(b"?")
        client.setblocking(False)

    def look():
        for client in set(clients) - served:
            try:
                check(client.recv(1) == b"?", "a client that waits was disconnected")
                served.add(client)
            except BlockingIOError:
                pass
        return len(served)
    settles(look, quiet=0.5)
    for client in clients:
        client.settimeout(20)
    return served, [client for client in clients if client not in served]


def echo_lives_on_at_its_descriptor_limit(threads=1):
    with Sample("echo", threads=threads, preexec_fn=limit_descriptors) as echo:
        base = echo.fds()
        clients = [echo.connect() for _ in range(CLIENTS)]
        served, waiting = served_and_waiting(clients)
        print(f"  {len(served)} of {CLIENTS} are served with {LIMIT} descriptors")
        check(20 <= len(served) <= LIMIT - base, f"{len(served)} are served, {LIMIT - base} descriptors were free")

        before, began = echo.cpu_total(), time.monotonic()
        while time.monotonic() - began < 2:
            for client in served:
                round_trip(client)
            time.sleep(0.1)
        used = (echo.cpu_total() - before) / (time.monotonic() - began)
        print(f"  {used * 100:.1f} % of a processor")
        check(used < 0.2, f"{used * 100:.1f} % of a processor")

        while waiting:  # their question has long been sent
            for client in served:
                client.close()
            served = []
            deadline = time.monotonic() + 10
            while not served:
                check(time.monotonic() < deadline, f"{len(waiting)} are not served though descriptors are free")
                for client in list(waiting):
                    client.settimeout(0.01)
                    try:
                        check(client.recv(1) == b"?", "a client that waited was disconnected")
                    except TimeoutError:
                        continue
                    client.settimeout(20)
                    round_trip(client)
                    waiting.remove(client)
                    served.append(client)
        for client in served:
            client.close()
        until(lambda: echo.fds() <= base, lambda: f"{echo.fds()} descriptors, {base} before")


def echo_with_two_threads_lives_on_at_its_descriptor_limit():
    echo_lives_on_at_its_descriptor_limit(threads=2)


def relay_at_its_descriptor_limit_resets_what_it_cannot_connect():
    with Sample("echo") as echo:
        with Sample("relay", echo.address, preexec_fn=limit_descriptors, stderr_allowed="cannot connect to") as relay:
            base = relay.fds()
            clients = [relay.connect() for _ in range(100)]
            time_out_or_reset = 0
            for client in clients:
                client.settimeout(0.02)
                try:
                    client.sendall(b"?")
                    client.recv(1)
                except (TimeoutError, ConnectionError):
                    time_out_or_reset += 1
            check(time_out_or_reset < 100, "none is served")
            for client in clients:
                client.close()
            relay.back_to(base, "after all have gone")
            with relay.connect() as client:
                round_trip(client)


run(at_once(
    echo_lives_on_at_its_descriptor_limit,
    echo_with_two_threads_lives_on_at_its_descriptor_limit,
    relay_at_its_descriptor_limit_resets_what_it_cannot_connect))
