# SPDX-License-Identifier: BSL-1.0
"""More connections to one port of a server than one client address has ports: the clients' addresses are 127.1.x.y, with
ports that the kernel chooses when they connect (IP_BIND_ADDRESS_NO_PORT). In a network namespace of this script's own,
where an address has few ports; needs the right to make one. CHAINRING_LINKS is how many connections."""
import ctypes
import errno
import fcntl
import os
import resource
import socket
import struct
import sys
import time

from harness import KIB, SANITIZED, SKIPPED, Sample, check, receive_exactly, run

WANTED = int(os.environ.get("CHAINRING_LINKS", "8000"))
PORTS = 2000  # of one address
EACH = 1500   # connections from one address
CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 1
IP_BIND_ADDRESS_NO_PORT = 24


def enter_own_network():
    """None, or why it cannot be."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return f"no network namespace: {os.strerror(ctypes.get_errno())}"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
        with open("/proc/sys/net/ipv4/ip_local_port_range", "w", encoding="ascii") as ports:
            ports.write(f"20000 {20000 + PORTS - 1}")
    except OSError as error:
        return f"no network of our own: {error}"
    return None


def connect_from(address, port):
    client = socket.socket()
    try:
        if address:
            client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            client.bind((address, 0))
        client.settimeout(20)
        client.connect(("127.0.0.1", port))
    except BaseException:
        client.close()
        raise
    return client


def one_address_has_so_many_connections_and_no_more():
    with Sample("echo") as echo:
        clients = []
        try:
            while len(clients) <= PORTS:
                clients.append(connect_from(None, echo.port))
            check(False, f"{len(clients)} connections from one address")
        except OSError as error:
            check(error.errno == errno.EADDRNOTAVAIL, error)
        check(len(clients) >= PORTS - 1, f"{len(clients)} connections")  # the server's own port may be one of them
        for client in clients:
            client.close()


def several_addresses_have_many_times_as_many_to_one_port():
    count = min(WANTED, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200)
    check(count > 2 * PORTS, f"only {count} descriptors")
    with Sample("echo", "--connections", count, stderr_allowed=".", threads=2) as echo:
        base, fds, began = echo.rss(), echo.fds(), time.monotonic()
        clients = [connect_from(f"127.1.{at // EACH >> 8}.{1 + (at // EACH & 255)}", echo.port) for at in range(count)]
        for client in clients:
            client.sendall(b"!")
        for client in clients:
            check(receive_exactly(client, 1) == b"!", "another echo")
        took = time.monotonic() - began
        held, each = echo.fds() - fds, (echo.rss() - base) / count
        print(f"  {count} connections to one port in {took:.1f} s; {each:.0f} bytes of user memory each")
        check(held == count, f"{held} connections")
        # A byte that comes before its receive waits in a block of 4 KiB, which the heap keeps; many_links measures Links.
        check(SANITIZED or each < 6 * KIB, f"{each:.0f} bytes each")
        for client in clients:
            client.close()
        echo.back_to(fds, "after all of them", 30)


REASON = enter_own_network()
if REASON:
    print(f"skipped: {REASON}")
    sys.exit(SKIPPED)
run(one_address_has_so_many_connections_and_no_more,
    several_addresses_have_many_times_as_many_to_one_port)
