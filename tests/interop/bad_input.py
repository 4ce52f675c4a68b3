# SPDX-License-Identifier: BSL-1.0
"""What a person may get wrong: one line on stderr saying what and why, exit 1; wrong flags: the usage, exit 2."""
import contextlib
import os
import socket
import tempfile

from harness import BACKEND, Sample, check, run, run_sample

SAMPLES = ("echo", []), ("chat", []), ("relay", ["127.0.0.1:9"])


def refused(name, *arguments, naming, code=1):
    ended, out, told = run_sample(name, "--backend", BACKEND, "--threads", "2", *arguments)
    shown = f"{name} {' '.join(arguments)}"
    check(ended == code, f"{shown}: exit {ended}, {told!r}")
    check(out == "", f"{shown}: on stdout: {out!r}")
    check(told.startswith(f"{name}: "), f"{shown}: does not say who: {told!r}")
    check(naming in told, f"{shown}: does not name {naming!r}: {told!r}")
    if code == 1:
        check(told.count("\n") == 1 and told.endswith("\n"), f"{shown}: not one line: {told!r}")
        # "NAME: what: why" or "NAME: --flag is ..., not 'value'"
        check(": " in told[len(name) + 2:] or ", not " in told, f"{shown}: does not say why: {told!r}")
    else:
        check("usage: " in told, f"{shown}: no usage: {told!r}")


def addresses_that_are_none_are_refused():
    for name, more in SAMPLES:
        for address in ("nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1", "1.2.3:80",
                        "1.2.3.400:80", "[::1", "[::1]", "[zz]:80", "unix:", "", "localhost:7000 "):
            refused(name, "--listen", address, *more, naming=address)


def addresses_of_others_are_refused():
    refused("echo", "--listen", "192.0.2.1:7000", naming="192.0.2.1:7000")  # TEST-NET-1: nobody's


def values_out_of_range_are_refused():
    for flag, values in {"--port": ("65536", "-1", "x", "", "80x", "99999999999999999999"),
                         "--threads": ("0", "1025", "two", "-1"),
                         "--backend": ("kqueue", "", "URING"),
                         "--spread": ("evenly", ""),
                         "--spin": ("-1", "x"),
                         "--grace": ("-1", "soon")}.items():
        for value in values:
            refused("echo", flag, value, naming=flag)
    for value in "0", "-1", "much":
        refused("chat", "--outbox", value, naming="--outbox")


def a_port_in_use_is_refused():
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        address = f"127.0.0.1:{other}"
        for name, more in SAMPLES:
            for spread in "round-robin", "least-loaded", "reuse-port":
                refused(name, "--listen", address, "--spread", spread, *more, naming=address)
        for first in "round-robin", "reuse-port":
            echo = stack.enter_context(Sample("echo", "--spread", first, threads=2))
            for spread in "round-robin", "reuse-port":
                refused("echo", "--listen", echo.address, "--spread", spread, naming=echo.address)


def unix_paths_that_cannot_be_are_refused():
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        missing, file, live = f"unix:{folder}/none/echo", f"{folder}/file", f"unix:{folder}/live"
        with open(file, "w", encoding="ascii") as text:
            text.write("mine")
        refused("echo", "--listen", missing, naming=missing)
        refused("echo", "--listen", f"unix:{file}", naming=file)
        with open(file, encoding="ascii") as text:
            check(text.read() == "mine", "the file in the way was changed")
        refused("echo", "--listen", f"unix:{folder}/{'x' * 200}", naming="xxx")
        stack.enter_context(Sample("echo", listen=live))
        refused("echo", "--listen", live, naming=live)
        name = f"unix:@chainring-interop-taken-{os.getpid()}"
        stack.enter_context(Sample("echo", listen=name))
        refused("echo", "--listen", name, naming=name)


def targets_that_are_none_are_refused():
    for target in "nonsense", "127.0.0.1", "127.0.0.1:99999", "unix:":
        refused("relay", "--port", "0", target, naming=target)


def wrong_flags_get_the_usage():
    for name, more in SAMPLES:
        refused(name, "--frobnicate", "1", *more, naming="--frobnicate", code=2)
        refused(name, *more, "--port", naming="--port", code=2)
    refused("echo", "127.0.0.1:0", naming="argument", code=2)
    refused("echo", "--outbox", "1000", naming="--outbox", code=2)
    refused("relay", "127.0.0.1:0", "127.0.0.1:9", "127.0.0.1:9", naming="argument", code=2)
    refused("relay", naming="TARGET", code=2)


def help_is_no_error():
    for name, _ in SAMPLES:
        ended, out, told = run_sample(name, "--help")
        check((ended, told) == (0, ""), f"{name} --help: exit {ended}, {told!r}")
        for flag in "--port", "--listen", "--threads", "--backend", "--spread", "--grace":
            check(flag in out, f"{name} --help does not tell of {flag}")


run(addresses_that_are_none_are_refused,
    addresses_of_others_are_refused,
    values_out_of_range_are_refused,
    a_port_in_use_is_refused,
    unix_paths_that_cannot_be_are_refused,
    targets_that_are_none_are_refused,
    wrong_flags_get_the_usage,
    help_is_no_error)
