# SPDX-License-Identifier: BSL-1.0
"""Unix sockets, by path and abstract: socat as the client, relay between them and TCP, the path's life."""
import os
import signal
import subprocess
import tempfile

from harness import MIB, Sample, check, connect, round_trip, run, tool, until


def through_socat(address, data):
    return subprocess.run([tool("socat"), "-t", "20", "-", address], input=data, capture_output=True, timeout=60,
                          check=True).stdout


def socat_gets_its_echo_over_a_unix_path():
    with tempfile.TemporaryDirectory() as folder:
        with Sample("echo", listen=f"unix:{folder}/echo") as echo:
            for data in b"", b"x", os.urandom(3 * MIB):
                check(through_socat(f"UNIX-CONNECT:{echo.target[1]}", data) == data, f"{len(data)} bytes came back otherwise")
        check(not os.path.exists(f"{folder}/echo"), "the path is still there after the end")


def socat_gets_its_echo_over_an_abstract_name():
    name = f"chainring-interop-{os.getpid()}"
    with Sample("echo", listen=f"unix:@{name}"):
        for data in b"x", os.urandom(3 * MIB):
            check(through_socat(f"ABSTRACT-CONNECT:{name}", data) == data, f"{len(data)} bytes came back otherwise")


def relay_joins_tcp_to_a_unix_path():
    with tempfile.TemporaryDirectory() as folder:
        with Sample("echo", listen=f"unix:{folder}/echo") as echo, Sample("relay", echo.address) as relay:
            data = os.urandom(3 * MIB)
            check(through_socat(f"TCP4:127.0.0.1:{relay.port}", data) == data, "other bytes came back")


def nobody_listens(target):
    try:
        connect(target[1], target[0]).close()
    except ConnectionRefusedError:
        return True
    return False


def a_path_that_a_killed_server_left_is_taken_over():
    with tempfile.TemporaryDirectory() as folder:
        first = Sample("echo", listen=f"unix:{folder}/echo")
        os.kill(first.pid, signal.SIGKILL)
        first.wait(code=-signal.SIGKILL)
        check(os.path.exists(f"{folder}/echo"), "the killed server left no path: nothing is tested")
        # The kernel takes the ring of a dead process down in the background, and with it the socket that the ring holds.
        until(lambda: nobody_listens(first.target), "the dead server's socket is closed", 2)
        with Sample("echo", listen=f"unix:{folder}/echo") as echo, echo.connect() as client:
            round_trip(client)


run(socat_gets_its_echo_over_a_unix_path,
    socat_gets_its_echo_over_an_abstract_name,
    relay_joins_tcp_to_a_unix_path,
    a_path_that_a_killed_server_left_is_taken_over)
