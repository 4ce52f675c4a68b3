# SPDX-License-Identifier: BSL-1.0
"""The echo servers of ../echo: which there are, what they need, and whether they spin."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    program: str        # under the build's tests/bench/echo
    packages: str       # Debian's
    arguments: tuple = ()


PEERS = {
    "asio": Peer("echo_asio", "libasio-dev"),
    "asio-uring": Peer("echo_asio_uring", "libasio-dev, liburing-dev"),
    "libuv": Peer("echo_libuv", "libuv1-dev"),
    "libevent": Peer("echo_libevent", "libevent-dev"),
    "libevent-plain": Peer("echo_libevent", "libevent-dev", ("--plain",)),
    "go": Peer("echo_go", "golang-go"),
    "tokio": Peer("echo_tokio", "librust-tokio-dev, cargo, rustc"),
}

SPINNING = (
    "Asio, libuv and libevent never spin; Tokio's one thread does not either (its multi-threaded runtime would search "
    "for work first); Go's thread looks through the run queues and asks the kernel without waiting before it sleeps"
)


def names(text):
    """Of `--peers`: a list of names, or all."""
    chosen = list(PEERS) if text == "all" else text.replace(",", " ").split()
    unknown = [name for name in chosen if name not in PEERS]
    if unknown:
        raise ValueError(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return chosen


def commands(build_dir, chosen):
    """{name: command} of those that were built; a line for each that was not, to be told."""
    found, left_out = {}, []
    for name in chosen:
        peer = PEERS[name]
        program = build_dir / "tests" / "bench" / "echo" / peer.program
        if program.exists():
            found[name] = [program, "--port", "{port}", "--threads", "1", *peer.arguments]
        else:
            left_out.append(f"left out: {name}: not built (Debian: {peer.packages})")
    return found, left_out
