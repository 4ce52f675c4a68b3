# SPDX-License-Identifier: BSL-1.0
"""Clients that write one byte at a time: nothing is lost, doubled or reordered, and lines are still found."""
import os
import socket

from harness import Background, Sample, check, receive_all, receive_exactly, run

DATA = os.urandom(5000)


def trickle(client, data):
    for at in range(len(data)):
        client.sendall(data[at:at + 1])


def all_at_once_back(server):
    """The replies are read while the bytes go out."""
    with server.connect() as client:
        reader = Background(receive_all, client)
        trickle(client, DATA)
        client.shutdown(socket.SHUT_WR)
        check(reader.result() == DATA, "other bytes came back")


def echo_returns_single_bytes():
    with Sample("echo") as echo:
        all_at_once_back(echo)


def echo_returns_each_byte_before_the_next_is_sent():
    with Sample("echo") as echo, echo.connect() as client:
        for at in range(500):
            client.sendall(DATA[at:at + 1])
            check(client.recv(10) == DATA[at:at + 1], f"byte {at}")


def relay_passes_single_bytes():
    with Sample("echo") as echo, Sample("relay", echo.address) as relay:
        all_at_once_back(relay)


def chat_passes_on_whole_lines():
    with Sample("chat") as chat, chat.connect() as listener:
        with chat.connect() as writer:
            check(receive_exactly(listener, 17) == b"* guest-2 joined\n", "no notice")
            for at in range(20):
                line = f"line {at} " + "x" * 80
                trickle(writer, (line + "\r\n").encode())
                expected = f"guest-2: {line}\n".encode()
                check(listener.recv(1000) == expected, "not one whole line in one piece")
        check(receive_exactly(listener, 15) == b"* guest-2 left\n", "no notice")


run(echo_returns_single_bytes,
    echo_returns_each_byte_before_the_next_is_sent,
    relay_passes_single_bytes,
    chat_passes_on_whole_lines)
