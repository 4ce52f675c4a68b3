# SPDX-License-Identifier: BSL-1.0
"""OpenBSD's nc as a client of echo: it half closes after its input and must then get all of it back."""
import os
import subprocess
import tempfile

from harness import KIB, MIB, Sample, Skip, check, connect, run, tool


def nc():
    path = tool("nc")
    told = subprocess.run([path, "-h"], capture_output=True, text=True, check=False)
    if "-N" not in told.stdout + told.stderr:
        raise Skip("this nc has no -N (half close after the input)")
    return path


def through_nc(arguments, data):
    with tempfile.TemporaryFile() as given:
        given.write(data)
        given.seek(0)
        return subprocess.run([nc(), "-N", *arguments], stdin=given, capture_output=True, timeout=60, check=True).stdout


def nc_gets_its_whole_echo_back_after_its_half_close():
    with Sample("echo", threads=2) as echo:
        for size in 0, 1, 1000, 16 * KIB, 16 * KIB + 1, 300 * KIB, MIB, 8 * MIB:
            data = os.urandom(size)
            check(through_nc(["127.0.0.1", str(echo.port)], data) == data, f"{size} bytes came back otherwise")


def nc_gets_its_echo_over_ipv6():
    try:
        connect(("::1", 1), family=10).close()
    except ConnectionRefusedError:
        pass
    except OSError as error:
        raise Skip(f"no IPv6 here: {error}") from None
    with Sample("echo", listen="[::1]:0") as echo:
        check(echo.address.startswith("[::1]:"), echo.ready_line)
        data = os.urandom(MIB)
        check(through_nc(["-6", "::1", str(echo.port)], data) == data, "other bytes came back")


def nc_gets_its_echo_over_a_unix_socket():
    with tempfile.TemporaryDirectory() as folder:
        with Sample("echo", listen=f"unix:{folder}/echo") as echo:
            data = os.urandom(3 * MIB)
            check(through_nc(["-U", echo.target[1]], data) == data, "other bytes came back")


run(nc_gets_its_whole_echo_back_after_its_half_close,
    nc_gets_its_echo_over_ipv6,
    nc_gets_its_echo_over_a_unix_socket)
