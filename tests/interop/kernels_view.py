# SPDX-License-Identifier: BSL-1.0
"""What Link::tcp_info tells is what ss tells of the same socket; and each socket has the options that are promised."""
import os
import re
import subprocess

from harness import Sample, check, receive_exactly, run, tool


def ss_of(port, peer_port):
    shown = subprocess.run([tool("ss"), "-tinH", "state", "established", f"sport = :{port} and dport = :{peer_port}"],
                           capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"\b([a-z_]+):([0-9.]+)", shown))


def tcp_info_tells_what_ss_tells():
    with Sample("link_ends", "info") as server, server.connect() as client:
        for size in 1, 1000, 200_000:
            client.sendall(b"x" * size + b"\n")
            line = b""
            while not line.endswith(b"\n"):
                line += receive_exactly(client, 1)
            told = {name: int(value) for name, value in (word.split("=") for word in line.decode().split())}
            seen = ss_of(server.port, client.getsockname()[1])
            # It was asked before the line that tells it was sent, and what it had sent before was acknowledged.
            check(told["received"] == int(seen["bytes_received"]), f"{told} and {seen}")
            check(told["sent"] + len(line) == int(seen["bytes_sent"]), f"{told} and {seen}")
            check(told["retransmits"] == int(seen.get("retrans", "0/0").split("/")[-1]), f"{told} and {seen}")
            check(0 < told["rtt_us"] < 20 * max(1.0, float(seen["rtt"])) * 1000, f"{told} and {seen}")


def every_descriptor_is_close_on_exec():
    for name, arguments in (("echo", ()), ("relay", None)):
        with Sample("echo") as target, Sample(name, *(arguments if arguments is not None else (target.address,)),
                                              threads=2) as server:
            clients = [server.connect() for _ in range(4)]
            for client in clients:
                client.sendall(b"?")
                receive_exactly(client, 1)
            folder = f"/proc/{server.pid}"
            open_ones = {}
            for fd in os.listdir(f"{folder}/fd"):
                with open(f"{folder}/fdinfo/{fd}", encoding="ascii") as info:
                    flags = int(re.search(r"^flags:\s+([0-7]+)", info.read(), re.MULTILINE)[1], 8)
                if int(fd) > 2 and not flags & os.O_CLOEXEC:
                    open_ones[fd] = os.readlink(f"{folder}/fd/{fd}")
            check(not open_ones, f"{name}: a child would inherit {open_ones}")
            for client in clients:
                client.close()


run(tcp_info_tells_what_ss_tells, every_descriptor_is_close_on_exec)
