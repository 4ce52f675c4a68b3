# SPDX-License-Identifier: BSL-1.0
"""valgrind finds no leak and no wrong access in a short run of echo and chat, ended by SIGTERM with clients there."""
import os
import signal
import subprocess

from harness import BACKEND, KIB, Background, Sample, Skip, check, not_under_sanitizers, receive_exactly, round_trip, run, tool, until


def wrapper():
    not_under_sanitizers("valgrind does not run such a program")
    command = [tool("valgrind"), "-q", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect",
               "--error-exitcode=99", "--num-callers=20",
               # An allocator that replaces malloc would hide the leaks; with its names taken over, new and delete mix.
               "--soname-synonyms=somalloc=*mimalloc*", "--show-mismatched-frees=no"]
    if BACKEND == "uring":
        # valgrind does not see what the kernel writes through a ring, and would take received bytes for undefined ones.
        command.append("--undef-value-errors=no")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        raise Skip("valgrind does not run here")
    return command


def under_valgrind(name, talk):
    try:
        # valgrind runs one thread at a time, and one that waits in io_uring_enter keeps the others from running.
        sample = Sample(name, prefix=wrapper(), threads=1 if BACKEND == "uring" else 2, ready_within=60,
                        stderr_allowed=r"^--\d+--")  # its own remarks, on system calls that it does not know
    except AssertionError as error:
        if BACKEND == "uring" and "unhandled" in str(error):
            raise Skip("this valgrind does not know io_uring") from None
        raise
    with sample:
        talk(sample)
        os.kill(sample.pid, signal.SIGTERM)
        # valgrind hands a signal over when the system call in progress returns; a knock makes io_uring_enter return.
        until(lambda: sample.process.poll() is not None or knock(sample), f"{name} ends", 30)
        sample.wait()


def knock(sample):
    try:
        sample.connect().close()
    except OSError:
        pass  # it listens no more
    return False


def echo_is_clean():
    def talk(echo):
        def one():
            with echo.connect() as client:
                for size in 1, 100, 16 * KIB, 200 * KIB:
                    data = os.urandom(size)
                    sender = Background(client.sendall, data)
                    check(receive_exactly(client, size) == data, "another reply")
                    sender.result()
        clients = [Background(one) for _ in range(10)]
        for client in clients:
            client.result()
        staying = Background(lambda: echo.connect().recv(1))  # until the end
        with echo.connect() as client:
            round_trip(client)
        return staying
    under_valgrind("echo", talk)


def chat_is_clean():
    def talk(chat):
        clients = [chat.connect() for _ in range(8)]
        for client in clients[:-1]:
            receive_exactly(client, len("* guest-8 joined\n"))
        for _ in range(20):
            for client in clients:
                client.sendall(b"a line\n" * 10)
        clients[0].sendall(b"x" * 10_000)  # too long: disconnected
        for client in clients[:4]:
            client.close()
        return [Background(client.recv, 1) for client in clients[4:]]
    under_valgrind("chat", talk)


run(echo_is_clean, chat_is_clean)
