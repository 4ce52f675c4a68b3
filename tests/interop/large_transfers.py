# SPDX-License-Identifier: BSL-1.0
"""100 MB of random bytes come out of echo and relay as they went in: same count, same SHA-256."""
import hashlib
import subprocess

from harness import Background, Sample, check, free_port, receive_digest, run, send_random, tcp_sockets, tool, until

SIZE = 100_000_000


def there_and_back(server):
    with server.connect() as client:
        sender = Background(send_random, client, SIZE)
        size, received = receive_digest(client)
        check((size, received) == (SIZE, sender.result()), f"{size} bytes back, or other ones")


def into_a_sink(command, port):
    """A program that listens on the port, and writes what it gets to stdout."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as sink:
        try:
            until(lambda: any(entry[0] == port and entry[2] == "LISTEN" for entry in tcp_sockets()), f"{command[0]} listens")
            with Sample("relay", f"127.0.0.1:{port}") as relay:
                def consume():
                    digest, size = hashlib.sha256(), 0
                    while piece := sink.stdout.read1(1 << 20):
                        digest.update(piece)
                        size += len(piece)
                    return size, digest.hexdigest()
                consumer = Background(consume)
                with relay.connect() as client:
                    sent = send_random(client, SIZE)
                    check(consumer.result() == (SIZE, sent), "the sink got something else")
                check(sink.wait(20) == 0, f"the sink exits with {sink.returncode}")
        finally:
            sink.kill()


def echo_returns_100_MB_unchanged():
    with Sample("echo") as echo:
        there_and_back(echo)


def two_clients_at_once_get_their_own_100_MB_back():
    with Sample("echo", threads=2) as echo:
        both = [Background(there_and_back, echo) for _ in range(2)]
        for one in both:
            one.result()


def relay_and_echo_return_100_MB_unchanged():
    with Sample("echo") as echo, Sample("relay", echo.address) as relay:
        there_and_back(relay)


def relay_fills_a_listening_nc_with_100_MB():
    port = free_port()
    into_a_sink([tool("nc"), "-l", "127.0.0.1", str(port)], port)


def relay_fills_a_listening_socat_with_100_MB():
    port = free_port()
    into_a_sink([tool("socat"), "-u", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr", "STDOUT"], port)


run(echo_returns_100_MB_unchanged,
    two_clients_at_once_get_their_own_100_MB_back,
    relay_and_echo_return_100_MB_unchanged,
    relay_fills_a_listening_nc_with_100_MB,
    relay_fills_a_listening_socat_with_100_MB)
