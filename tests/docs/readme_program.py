# SPDX-License-Identifier: BSL-1.0
"""The README's program echoes a line and ends with 0 at SIGTERM. Its port is fixed, so it is skipped where that is taken."""
import signal
import socket
import subprocess
import sys
import time

with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("0.0.0.0", 7000))
    except OSError:
        print("skipped: port 7000 is in use")
        sys.exit(77)

server = subprocess.Popen([sys.argv[1]])
try:
    deadline = time.monotonic() + 10
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", 7000), timeout=5)
            break
        except ConnectionRefusedError:
            assert server.poll() is None and time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.01)  # until it does
    client.sendall(b"hello\n")
    assert client.recv(100) == b"hello\n"
    server.send_signal(signal.SIGTERM)
    assert client.recv(100) == b"", "the idle connection ends in order"
    client.close()
    assert server.wait(10) == 0, server.returncode
finally:
    server.kill()
print("1 passed, 0 failed")
