#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""An echo server with one fault, for run_test.py: broken_echo.py FAULT PORT.

The faults that wait do so for a message of exactly 64 bytes, of which the measured cell consists: the check of bytes
before it sends longer ones, so that these faults appear only in the middle of a run.
"""

import os
import selectors
import socket
import struct
import sys

MESSAGE = 64
FAULTS = ("none", "flips", "dies", "dies at once", "closes", "resets", "adds")


def answer(fault, connection, data):
    """False when the connection is to be closed."""
    if len(data) == MESSAGE:
        if fault == "flips":
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif fault == "adds":
            data += b"!"
        elif fault == "dies":
            os._exit(9)
        elif fault == "closes":
            return False
        elif fault == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
    connection.sendall(data)
    return True


def main():
    fault, port = sys.argv[1].replace("-", " "), int(sys.argv[2])
    assert fault in FAULTS
    if fault == "dies at once":
        sys.exit(9)
    listener = socket.create_server(("127.0.0.1", port))
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ)
                continue
            try:
                data = key.fileobj.recv(1 << 16)
                more = data and answer(fault, key.fileobj, data)
            except ConnectionError:
                more = False
            if not more:
                selector.unregister(key.fileobj)
                key.fileobj.close()


if __name__ == "__main__":
    main()
