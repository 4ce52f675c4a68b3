# SPDX-License-Identifier: BSL-1.0
"""System calls per request, in short runs of their own: counting slows the server down.

By `perf stat`, else by `strace -c`, else not at all (None). The first that works is kept.
"""

import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

from . import perf, processes

SECONDS = 0.4


class Counter:
    def __init__(self, generator):
        self._generator = generator
        self._methods = [m for name, m in (("perf", self._perf), ("strace", self._strace)) if shutil.which(name)]

    def per_request(self, server, cell):
        while self._methods:
            count = self._methods[0](server, cell)
            if count is not None:
                return count
            self._methods.pop(0)
        return None

    def _perf(self, server, cell):
        return perf.per_request("raw_syscalls:sys_enter", self._generator, server, cell, SECONDS)

    def _strace(self, server, cell):
        with tempfile.NamedTemporaryFile("r") as log:
            tracer = processes.spawn(
                ["strace", "-c", "-f", "-U", "calls,name", "-o", log.name, "-p", server.pid],
                stderr=subprocess.PIPE,
            )
            try:
                if not self._is_attached(tracer):
                    return None
                # No warm-up: the generator's number of requests is that of the whole run, as the count is.
                command = self._generator.command(server, cell, SECONDS, 0, cell.depth)
                figures = self._generator.run(server, command, SECONDS)
                tracer.send_signal(signal.SIGINT)
                tracer.wait(timeout=10)
            except subprocess.TimeoutExpired:
                return None
            finally:
                processes.kill(tracer)
                tracer.stderr.close()
            for line in log:
                words = line.split()
                if len(words) == 2 and words[1] == "total":
                    return int(words[0]) / figures["requests"]
        return None

    @staticmethod
    def _is_attached(tracer, patience=5.0):
        text = b""
        deadline = time.monotonic() + patience
        while b"attached" not in text:
            ready, _, _ = select.select([tracer.stderr], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(tracer.stderr.fileno(), 4096) if ready else b""
            if not chunk:
                return False
            text += chunk
        return True
