# SPDX-License-Identifier: BSL-1.0
"""Child processes: started pinned and preferred, and gone when we are, however we go.

Every child leads a process group of its own, so that all of it can be killed, and asks the kernel to be
killed when we die, so that even `kill -9` of the driver leaves nothing behind.
"""

import atexit
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_children = set()


def prefer_this_process():
    """Priority is a wish: it is not granted to everyone."""
    # Plain nice only counts inside an autogroup (one for each session): prefer that too.
    try:
        with open("/proc/self/autogroup", "w", encoding="ascii") as file:
            file.write("-20")
    except OSError:
        pass
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -19)
    except OSError:
        pass


def _preparation(cpus):
    """What a child does between fork and exec, in a session of its own."""

    def prepare():
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        prefer_this_process()
        if cpus is not None:
            os.sched_setaffinity(0, cpus)

    return prepare


def spawn(command, cpus=None, stdin=subprocess.DEVNULL, **popen_arguments):
    environment = {k: v for k, v in os.environ.items() if k != "CC"}  # CC would select a congestion control
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=stdin,
        env=environment,
        start_new_session=True,
        preexec_fn=_preparation(cpus),
        **popen_arguments,
    )
    _children.add(process)
    return process


def kill(process):
    _children.discard(process)
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def forget(process):
    """The process has ended and was waited for."""
    _children.discard(process)


def kill_all():
    for process in list(_children):
        kill(process)


def _on_signal(number, _frame):
    sys.exit(128 + number)


def install_cleanup():
    atexit.register(kill_all)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)


_used_ports = set()


def free_port():
    """A port that nobody listens on, below the range from which outgoing connections are numbered.

    Each port is given out once: with SO_REUSEPORT two servers on one port would share its connections.
    """
    while True:
        port = random.randrange(10240, 32000)
        if port in _used_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _used_ports.add(port)
        return port


class ServerError(Exception):
    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


class Server:
    """A server process, and the port that it was told to listen on: a free one, unless one is given.

    `command` is a list of words in which {port} and {spin} are replaced. It is ready when its output has a line
    that starts with `ready_line`, or, without one, when it accepts a connection. It may use these `cpus`, with so many
    `threads` that have work.
    """

    def __init__(self, name, command, spin, cpus, ready_line=None, port=None, threads=1):
        self.name = name
        self.port = port or free_port()
        self._words = [w.replace("{port}", str(self.port)).replace("{spin}", str(spin)) for w in map(str, command)]
        self._cpus = cpus
        self._threads = threads
        self._ready_line = ready_line
        self._log = None
        self._process = None

    @property
    def pid(self):
        return self._process.pid

    @property
    def takes_turns(self):
        """Its threads wait for each other, for want of CPUs: that alone makes CPU pressure."""
        return self._cpus is not None and self._threads > len(self._cpus)

    def start(self, patience=10.0):
        self._log = tempfile.TemporaryFile()
        try:
            self._process = spawn(self._words, self._cpus, stdout=self._log, stderr=subprocess.STDOUT)
        except OSError as error:
            raise ServerError(f"{self.name}: cannot start {self._words[0]}: {error.strerror}") from error
        deadline = time.monotonic() + patience
        while not self._is_ready():
            self.check_alive()
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name}: not ready after {patience:g} s{self._output_note()}")
            time.sleep(0.01)

    def _is_ready(self):
        if self._ready_line:
            return any(line.startswith(self._ready_line) for line in self.output().splitlines())
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def turns(self):
        """Of all threads that it has now: CPU time in ns, and how often one of them has left a CPU."""
        cpu_ns = switches = 0
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            cpu_ns += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
            for line in (thread / "status").read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition(":")
                switches += int(value) if name.endswith("voluntary_ctxt_switches") else 0
        return cpu_ns, switches

    def check_alive(self):
        status = self._process.poll()
        if status is not None:
            raise ServerError(f"{self.name}: the server ended with status {status}{self._output_note()}", status)

    def stop(self):
        if self._process:
            kill(self._process)
        if self._log:
            self._log.close()

    def output(self):
        # pread, because the file's offset is shared with the writer.
        return os.pread(self._log.fileno(), 1 << 16, 0).decode(errors="replace")

    def _output_note(self):
        text = self.output().strip()
        return f"; it wrote:\n{text[-2000:]}" if text else ""
