# SPDX-License-Identifier: BSL-1.0
"""More connections to one port of a server than one client address has ports: the clients' addresses are 127.1.x.y, with
ports that the kernel chooses when they connect (IP_BIND_ADDRESS_NO_PORT). CHAINRING_LINKS, or the first argument, is how many."""
import os
import resource
import socket
import sys
import time

from harness import KIB, SANITIZED, Sample, Skip, check, receive_exactly, run

WANTED = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CHAINRING_LINKS", "32000"))
EACH = 8000  # connections from one address; the kernel's range of ports has some 28,000
IP_BIND_ADDRESS_NO_PORT = 24


def connect_from(number, port):
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    address = number // EACH
    client.bind((f"127.1.{address >> 8}.{1 + (address & 255)}", 0))
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    return client


def more_connections_than_ports_are_held_to_one_port():
    count = 4000 if SANITIZED else WANTED
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = count + 200  # in this process, and in the server, which inherits the limit
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        raise Skip(f"{hard} descriptors at most, and no right to raise that") from None
    with open("/proc/meminfo", encoding="ascii") as info:
        free = int(next(line for line in info if line.startswith("MemAvailable")).split()[1]) * KIB
    if free < count * 20 * KIB:  # kernel memory of both ends
        raise Skip("too little memory")
    with Sample("echo", "--connections", count, stderr_allowed="", threads=2) as echo:
        base, fds = echo.rss(), echo.fds()
        began = time.monotonic()
        clients = [connect_from(number, echo.port) for number in range(count)]
        for client in clients[::97]:
            client.sendall(b"ping")
        for client in clients[::97]:
            check(receive_exactly(client, 4) == b"ping", "another echo")
        took = time.monotonic() - began
        for client in clients:
            client.sendall(b"!")
        for client in clients:
            check(receive_exactly(client, 1) == b"!", "another echo")
        held = echo.fds() - fds
        check(held == count, f"{held} connections")
        each = (echo.rss() - base) / count
        print(f"  {count} connections to one port in {took:.1f} s; {each:.0f} bytes of user memory each")
        check(SANITIZED or each < 2 * KIB, f"{each:.0f} bytes each")
        for client in clients:
            client.close()
        echo.back_to(fds, "after all of them", 30)


run(more_connections_than_ports_are_held_to_one_port)
