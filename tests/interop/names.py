# SPDX-License-Identifier: BSL-1.0
"""Names from a real server (dnsmasq) and from none: A and AAAA records, names that do not exist, a server that never
answers. In a network and mount namespace of this script's own, with its own resolv.conf and its own loopback; needs the right
to make them (root, in a container too)."""
import contextlib
import ctypes
import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

from harness import SKIPPED, SANITIZED, Skip, check, run, tool, until

PROGRAM = os.environ.get("CHAINRING_DIAL_NAMES", "")
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source, target, flags):
    if LIBC.mount(source.encode(), target.encode(), None, flags, None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def enter_own_world(resolv_conf):
    """From here on this process has a network of its own, and resolv_conf is its resolv.conf."""
    if not os.path.exists("/etc/resolv.conf"):
        raise Skip("no resolv.conf")
    if LIBC.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise Skip(f"no namespaces: {os.strerror(ctypes.get_errno())}")
    try:
        mount("none", "/", MS_REC | MS_PRIVATE)
        mount(resolv_conf, "/etc/resolv.conf", MS_BIND)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
    except OSError as error:
        raise Skip(f"no world of our own: {error}") from error


@contextlib.contextmanager
def dnsmasq(*records):
    arguments = [tool("dnsmasq"), "--keep-in-foreground", "--no-resolv", "--no-hosts", "--no-daemon", "--conf-file=/dev/null",
                 "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file=", "--local=/test/",
                 *(f"--host-record={record}" for record in records)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as server:
        try:
            until(answers, "dnsmasq does not answer")
            yield
        finally:
            server.kill()


def answers():
    """Whether somebody serves DNS: asks for the address of the root."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.1)
        with contextlib.suppress(OSError):
            client.connect(("127.0.0.1", 53))
            client.send(struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\0" + struct.pack("!HH", 1, 1))
            return client.recv(512)
    return None


@contextlib.contextmanager
def silent_server():
    """A name server that takes every question and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        yield server


@contextlib.contextmanager
def listener(host, port=0):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((host, port))
        server.listen(64)
        yield server.getsockname()[1]


def dialled(*targets):
    """What the program says of each target, as {target: (outcome, milliseconds)}, and how long it took in all."""
    began = time.monotonic()
    done = subprocess.run([PROGRAM, *targets], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    seconds = time.monotonic() - began
    outcomes = dict.fromkeys(targets)
    for target, outcome, took in re.findall(r"^(\S+) (.*) after (\d+) ms$", done.stdout, re.MULTILINE):
        outcomes[target] = (outcome, int(took))
    longest = int(re.search(r"longest tick (\d+) ms", done.stdout)[1])
    check(longest < (500 if SANITIZED else 200), f"the worker was held for {longest} ms")
    return outcomes, seconds


def names_of_hosts_and_of_a_server_are_dialled():
    with dnsmasq("four.test,127.0.0.9", "six.test,::1", "both.test,127.0.0.9,::1"):
        with listener("127.0.0.9") as port, listener("::1", port), listener("127.0.0.1", port):
            outcomes, _ = dialled(*(f"{name}:{port}" for name in ("localhost", "four.test", "six.test", "both.test")))
            four, six = f"connected to 127.0.0.9:{port}", f"connected to [::1]:{port}"
            check(outcomes[f"four.test:{port}"][0] == four, outcomes)
            check(outcomes[f"six.test:{port}"][0] == six, outcomes)
            check(outcomes[f"both.test:{port}"][0] in (four, six), outcomes)
            check(outcomes[f"localhost:{port}"][0].startswith("connected to "), outcomes)


def the_address_that_listens_is_found_among_several():
    with dnsmasq("both.test,127.0.0.9,::1"):
        for host in ("127.0.0.9", "::1"):
            with listener(host) as port:
                outcomes, _ = dialled(f"both.test:{port}")
                check(host in outcomes[f"both.test:{port}"][0], outcomes)


def a_name_that_does_not_exist_is_told_at_once():
    with dnsmasq("four.test,127.0.0.9"):
        outcomes, _ = dialled("none.test:80")
        outcome, took = outcomes["none.test:80"]
        check(outcome == "failed: the name does not exist", outcomes)
        check(took < 1000, outcomes)


def a_server_that_never_answers_holds_neither_the_worker_nor_the_end():
    with silent_server(), listener("127.0.0.1") as port:
        targets = [f"n{number}.test:80" for number in range(30)]
        outcomes, seconds = dialled(f"127.0.0.1:{port}", *targets)
        check(outcomes[f"127.0.0.1:{port}"][0] == f"connected to 127.0.0.1:{port}", outcomes)
        for target in targets:
            outcome, took = outcomes[target]
            check(outcome == "failed: timed out" and 2000 <= took < 2600, (target, outcomes[target]))
        check(seconds < 5, f"the program took {seconds:.1f} s to end")  # getaddrinfo itself: ten


def without_a_server_the_failure_is_a_temporary_one():
    outcomes, _ = dialled("four.test:80")
    check("no name server has answered" in outcomes["four.test:80"][0], outcomes)


with tempfile.NamedTemporaryFile("w", suffix=".conf") as configuration:
    configuration.write("nameserver 127.0.0.1\n")
    configuration.flush()
    try:
        tool("dnsmasq")
        check(os.access(PROGRAM, os.X_OK), "CHAINRING_DIAL_NAMES names no program")
        enter_own_world(configuration.name)
    except Skip as why:
        print(f"skipped: {why}")
        sys.exit(SKIPPED)
    run(names_of_hosts_and_of_a_server_are_dialled,
        the_address_that_listens_is_found_among_several,
        a_name_that_does_not_exist_is_told_at_once,
        a_server_that_never_answers_holds_neither_the_worker_nor_the_end,
        without_a_server_the_failure_is_a_temporary_one)
