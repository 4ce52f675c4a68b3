# SPDX-License-Identifier: BSL-1.0
"""A client that is started before anybody listens (nc -l) is refused, tries again after 0.5 s and 1 s more, and is served."""
import contextlib
import os
import re
import subprocess
import time

from harness import SANITIZED, check, free_port, run, tcp_sockets, tool, until

PROGRAM = os.environ.get("CHAINRING_DIAL_NAMES", "")


def a_client_finds_a_server_that_starts_later_at_its_next_attempt():
    nc, port = tool("nc"), free_port()
    with subprocess.Popen([PROGRAM, "--retry", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True) as client:
        with contextlib.ExitStack() as stack:
            time.sleep(0.9)  # after the second attempt, before the third
            check(client.poll() is None, "it has given up")
            server = stack.enter_context(subprocess.Popen([nc, "-l", "127.0.0.1", str(port)], stdin=subprocess.DEVNULL))
            stack.callback(server.kill)
            until(lambda: server.poll() is not None or
                  any(entry[0] == port and entry[2] == "LISTEN" for entry in tcp_sockets()), "nc listens")
            told = client.communicate(timeout=25)[0]
    found = re.search(rf"connected to 127\.0\.0\.1:{port} after (\d+) ms", told)
    check(found, f"told {told!r}")
    took = int(found[1])
    check(1500 <= took < (4000 if SANITIZED else 1900), f"connected after {took} ms, not 0.5 s + 1 s")


run(a_client_finds_a_server_that_starts_later_at_its_next_attempt)
