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

from . import processes

SECONDS = 0.4


class Counter:
    def __init__(self, generator, depth):
        self._generator = generator
        self._depth = depth
        self._methods = [m for name, m in (("perf", self._perf), ("strace", self._strace)) if shutil.which(name)]

    def per_request(self, server, cell):
        while self._methods:
            count = self._methods[0](server, cell)
            if count is not None:
                return count
            self._methods.pop(0)
        return None

    def _command(self, server, cell):
        # No warm-up: the generator's number of requests is that of the whole run, as the count is.
        return self._generator.command(server, cell, SECONDS, 0, self._depth)

    def _perf(self, server, cell):
        with tempfile.NamedTemporaryFile("r") as log:
            perf = ["perf", "stat", "-x", ",", "-o", log.name, "-e", "raw_syscalls:sys_enter", "-p", server.pid]
            if not self._perf_is_allowed(perf):
                return None
            figures = self._generator.run(server, perf + ["--"] + self._command(server, cell), SECONDS)
            for line in log:
                value, *_ = line.split(",")
                if "raw_syscalls" in line and value.isdigit():
                    return int(value) / figures["requests"]
        return None

    @staticmethod
    def _perf_is_allowed(perf):
        command = [str(word) for word in perf] + ["--", "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _strace(self, server, cell):
        with tempfile.NamedTemporaryFile("r") as log:
            tracer = processes.spawn(
                ["strace", "-c", "-f", "-U", "calls,name", "-o", log.name, "-p", server.pid],
                stderr=subprocess.PIPE,
            )
            try:
                if not self._is_attached(tracer):
                    return None
                figures = self._generator.run(server, self._command(server, cell), SECONDS)
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
