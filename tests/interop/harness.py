# SPDX-License-Identifier: BSL-1.0
"""What the interop tests share: a sample as a child process, real clients beside it, and what the kernel says of both.

The environment tells what is tested: CHAINRING_BACKEND (uring or epoll), CHAINRING_SAMPLES (the folder of the
programs), CHAINRING_SERVERS (that of the tests' own), CHAINRING_DENY (the helper that refuses a system call),
CHAINRING_SANITIZE (the build's sanitizers, if any). CHAINRING_ONLY names the one test of the script that is run, CHAINRING_BUT
the one that is not.
A script ends with `harness.run(test, ...)`; each test is a function whose name is a sentence. Tests that hardly do anything
but wait may do so at once: `at_once(test, ...)`. A test that cannot be made here raises Skip; when no test of a script could
be made, it exits with 77.

Nothing here waits a fixed time for something to happen: `until` looks again and again, up to a deadline. `settles` is
for what must have come to rest, and does take its time.
"""
import contextlib
import ctypes
import errno
import hashlib
import os
import re
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

BACKEND = os.environ.get("CHAINRING_BACKEND", "uring")
SAMPLES = os.environ.get("CHAINRING_SAMPLES", "")
SERVERS = os.environ.get("CHAINRING_SERVERS", "")
SANITIZED = os.environ.get("CHAINRING_SANITIZE", "")
NAMES = {"uring": "io_uring", "epoll": "epoll"}
KIB, MIB = 1 << 10, 1 << 20
SKIPPED = 77


class Skip(Exception):
    """The test cannot be made on this machine; says why."""


# ---- waiting and judging

def check(condition, what):
    if not condition:
        raise AssertionError(what)


def until(condition, what, seconds=10.0):
    """Returns the condition's value as soon as it is true; fails with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def settles(value, quiet=0.5, seconds=20.0):
    """Returns value() once it has not changed for `quiet` seconds."""
    deadline = time.monotonic() + seconds
    last, since = value(), time.monotonic()
    while time.monotonic() - since < quiet:
        check(time.monotonic() < deadline, f"still changing after {seconds} s")
        time.sleep(0.02)
        now = value()
        if now != last:
            last, since = now, time.monotonic()
    return last


def tool(name):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not path:
        raise Skip(f"{name} is not installed")
    return path


def not_under_sanitizers(why):
    if SANITIZED:
        raise Skip(f"the build has sanitizers: {why}")


# ---- a sample

class Sample:
    """A running sample, listening. Leaving the `with` block stops it with SIGTERM and expects exit 0, soon."""

    READY = re.compile(r"^(\w+): listening on (.+) \((io_uring|epoll), (\d+) workers?\)$")

    def __init__(self, name, *arguments, listen="127.0.0.1:0", threads=1, backend=BACKEND, prefix=(), environment=None,
                 ready_within=15.0, expect_backend=None, stderr_allowed="", **popen):
        self.name = name
        self.stderr_allowed = stderr_allowed
        self.stderr = tempfile.TemporaryFile()
        self.command = [*prefix, program(name), "--listen", listen, "--threads", str(threads)]
        if backend:
            self.command += ["--backend", backend]
        self.command += [str(argument) for argument in arguments]
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.stderr, env=clean_environment(environment), **popen)
        try:
            self._read_ready_line(ready_within)
            expected = NAMES[expect_backend or backend or BACKEND]
            check(self.backend == expected, f"asked for {expected}, runs on {self.backend}")
            check(self.workers == threads, f"asked for {threads} threads, has {self.workers}")
            # strace runs the sample as its child; the other wrappers become the sample.
            self.pid = self.process.pid
            if prefix and os.path.basename(prefix[0]) == "strace":
                with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as children:
                    self.pid = int(children.read().split()[0])
        except BaseException:
            self.kill()
            raise

    def _read_ready_line(self, seconds):
        text = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + seconds
            while b"\n" not in text:
                check(selector.select(max(0.0, deadline - time.monotonic())),
                      f"{self.name}: no ready line within {seconds} s; got {text!r}, {self.complaints()!r}")
                piece = os.read(self.process.stdout.fileno(), 4096)
                if not piece:
                    code = self.process.wait(seconds)
                    raise AssertionError(f"{self.name}: exit {code} before it was ready: {self.complaints()!r}")
                text += piece
        self.ready_line = text.split(b"\n")[0].decode()
        match = self.READY.match(self.ready_line)
        check(match, f"not a ready line: {self.ready_line!r}")
        check(match[1] == self.name, self.ready_line)
        self.address, self.backend, self.workers = match[2], match[3], int(match[4])

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None and self.process.poll() is None:
            self.stop()
        elif kind is None:
            check(self.process.returncode == 0, f"{self.name} had ended: exit {self.process.returncode}, {self.complaints()!r}")
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)  # a crash closes its sockets before it can be waited for
            died, complaints = self.process.poll(), self.complaints()
            self.kill()
            state = "still ran" if died is None else f"had ended by itself, exit {died}"
            print(f"  {self.name}: {state}; on stderr: {complaints!r}", flush=True)

    def stop(self, within=5.0, code=0):
        """SIGTERM; returns how long it took to exit. Tasks left behind would keep it until its grace (10 s) is over."""
        began = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        self.wait(within, code)
        return time.monotonic() - began

    def wait(self, within=5.0, code=0):
        try:
            ended = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name}: still there {within} s after SIGTERM; stderr {self.complaints()!r}") from None
        self.process.stdout.close()
        complaints = self.complaints()
        check(ended == code, f"{self.name}: exit {ended}, not {code}: {complaints!r}")
        left = [line for line in complaints.splitlines() if not (self.stderr_allowed and re.search(self.stderr_allowed, line))]
        check(not left, f"{self.name}: on stderr: {left[:5]}")

    def kill(self):
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(getattr(self, "pid", self.process.pid), signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def complaints(self):
        """The end of what it wrote on stderr."""
        size = self.stderr.seek(0, os.SEEK_END)
        self.stderr.seek(max(0, size - 8 * KIB))
        if size > 8 * KIB:
            self.stderr.readline()  # half a line
        return self.stderr.read().decode(errors="replace")

    # -- reaching it

    @property
    def port(self):
        return int(self.address.rsplit(":", 1)[1])

    @property
    def target(self):
        """(family, address) as the socket module takes them."""
        if self.address.startswith("unix:@"):
            return socket.AF_UNIX, "\0" + self.address[6:]
        if self.address.startswith("unix:"):
            return socket.AF_UNIX, self.address[5:]
        host = self.address.rsplit(":", 1)[0].strip("[]")
        return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, self.port)

    def connect(self, timeout=20.0, receive_buffer=None, send_buffer=None):
        family, address = self.target
        return connect(address, family, timeout, receive_buffer, send_buffer)

    # -- what the kernel says of it

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def rss(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()

    def cpu(self):
        """Seconds of processor time (user and system) of each of its threads."""
        times = {}
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{self.pid}/task/{thread}/schedstat", encoding="ascii") as stat:
                    times[int(thread)] = int(stat.read().split()[0]) / 1e9
        return times

    def cpu_total(self):
        return sum(self.cpu().values())

    def sockets(self, state=None):
        """Its own TCP sockets (those at its port) in the kernel's tables, apart from the listening one."""
        return [entry for entry in tcp_sockets() if entry[0] == self.port and entry[2] != "LISTEN" and
                (state is None or entry[2] == state)]

    def back_to(self, base, what, seconds=15.0):
        """Descriptors are back at `base`, and no socket waits for the server to close it."""
        until(lambda: self.fds() <= base, lambda: f"{what}: {self.fds()} descriptors, {base} before", seconds)
        if not self.address.startswith("unix:"):
            until(lambda: not self.sockets("CLOSE_WAIT"), f"{what}: sockets in CLOSE_WAIT", seconds)


def program(name):
    for folder in SAMPLES, SERVERS:
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    raise Skip(f"no program {name} in CHAINRING_SAMPLES or CHAINRING_SERVERS")


def clean_environment(extra=None):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHAINRING_")}
    return {**kept, **(extra or {})}


def run_sample(name, *arguments, prefix=(), within=10.0, environment=None):
    """Runs a sample that should end by itself; returns (exit code, stdout, stderr)."""
    try:
        ended = subprocess.run([*prefix, program(name), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               timeout=within, env=clean_environment(environment), check=False)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{name} {' '.join(arguments)}: runs on instead of refusing") from None
    return ended.returncode, ended.stdout, ended.stderr


def tcp_sockets():
    states = {1: "ESTABLISHED", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN"}
    found = []
    for table in "/proc/net/tcp", "/proc/net/tcp6":
        with contextlib.suppress(FileNotFoundError), open(table, encoding="ascii") as lines:
            next(lines)
            for line in lines:
                field = line.split()
                code = int(field[3], 16)
                found.append((int(field[1].rsplit(":", 1)[1], 16), int(field[2].rsplit(":", 1)[1], 16), states.get(code, code)))
    return found


# ---- clients and peers in this process

def connect(address, family=socket.AF_INET, timeout=20.0, receive_buffer=None, send_buffer=None):
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(timeout)
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if send_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    if family != socket.AF_UNIX:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


def listening(host="127.0.0.1", backlog=128):
    server = socket.create_server((host, 0), backlog=backlog)
    server.settimeout(20)
    return server


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def receive_exactly(client, size):
    got = bytearray()
    while len(got) < size:
        piece = client.recv(min(size - len(got), 256 * KIB))
        check(piece, f"the end of the stream after {len(got)} of {size} bytes")
        got += piece
    return bytes(got)


def receive_all(client):
    got = bytearray()
    while piece := client.recv(256 * KIB):
        got += piece
    return bytes(got)


def round_trip(client, message=b"ping"):
    client.sendall(message)
    check(receive_exactly(client, len(message)) == message, "another reply than the request")


def reset(client):
    """Closes with RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def push_until_stuck(client, at_most, quiet=1.0):
    """Sends without receiving, until nothing has been taken for `quiet` seconds; returns how much was."""
    block, pushed, last = os.urandom(64 * KIB), 0, time.monotonic()
    client.setblocking(False)
    while pushed < at_most and time.monotonic() - last < quiet:
        try:
            pushed += client.send(block)
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.005)
    return pushed


class Background(threading.Thread):
    """A function in a thread; result() joins and returns its value, or raises what it raised."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self._call, self._value, self._error = (function, arguments), None, None
        self.start()

    def run(self):
        function, arguments = self._call
        try:
            self._value = function(*arguments)
        except BaseException as error:  # pylint: disable=broad-except
            self._error = error

    def result(self, within=60.0):
        self.join(within)
        check(not self.is_alive(), f"{self._call[0].__name__} still runs after {within} s")
        if self._error:
            raise self._error
        return self._value


def send_random(client, size, end=True):
    """Sends random bytes, then (with `end`) half closes; returns their SHA-256."""
    digest = hashlib.sha256()
    while size > 0:
        block = os.urandom(min(size, MIB))
        digest.update(block)
        client.sendall(block)
        size -= len(block)
    if end:
        client.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def receive_digest(client):
    """Receives to the end of the stream; returns (bytes, their SHA-256)."""
    digest, size = hashlib.sha256(), 0
    while piece := client.recv(MIB):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


# ---- running

def _uring_reason():
    """Why io_uring cannot be had here, or None. Asks the kernel, not the code under test."""
    fd = ctypes.CDLL(None, use_errno=True).syscall(425, 1, ctypes.create_string_buffer(120))  # io_uring_setup
    if fd >= 0:
        os.close(fd)
        return None
    number = ctypes.get_errno()
    return os.strerror(number) if number in (errno.ENOSYS, errno.EPERM) else None


def run(*tests):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 8192), hard))
    reason = _uring_reason() if BACKEND == "uring" else None
    if reason:
        print(f"skipped: no io_uring here: {reason}")
        sys.exit(SKIPPED)
    codes = []
    for test in _chosen(tests):
        codes += test() if isinstance(test, at_once) else [_run_one(test)]
    sys.exit(1 if any(code not in (0, SKIPPED) for code in codes) else 0 if 0 in codes else SKIPPED)


def _chosen(tests):
    only, but = os.environ.get("CHAINRING_ONLY"), os.environ.get("CHAINRING_BUT")
    named = [test for test in tests if getattr(test, "__name__", None) in {only, but} - {None}]
    check(len(named) == sum(name is not None for name in (only, but)), f"no test {only or but} in this script")
    return named if only else [test for test in tests if test not in named]


def _run_one(test):
    name, began = test.__name__.replace("_", " "), time.monotonic()
    try:
        test()
        print(f"ok       {name} ({time.monotonic() - began:.1f} s)", flush=True)
        return 0
    except Skip as why:
        print(f"skipped  {name}: {why}", flush=True)
        return SKIPPED
    except Exception:  # pylint: disable=broad-except
        print(f"FAILED   {name} ({BACKEND}, {time.monotonic() - began:.1f} s)\n{traceback.format_exc()}", flush=True)
        return 1


class at_once:  # pylint: disable=invalid-name
    """Tests for run() that wait beside each other, each in a process of its own, so that none holds what another closes. What
    they print comes in their order. Only for tests that leave the processors idle nearly all the time: that is what keeps
    one from showing in the time and processor time that another measures."""

    def __init__(self, *tests):
        self._tests = tests

    def __call__(self):
        """Their exit codes, as _run_one has them."""
        sys.stdout.flush()
        children = []
        for test in self._tests:
            output = tempfile.TemporaryFile()
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    os.dup2(output.fileno(), 1)
                    code = _run_one(test)
                finally:
                    sys.stdout.flush()
                    os._exit(code)
            children.append((pid, output))
        codes = []
        for pid, output in children:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            output.seek(0)
            print(output.read().decode(errors="replace"), end="", flush=True)
            output.close()
            if codes[-1] < 0:
                print(f"FAILED   killed by signal {-codes[-1]}", flush=True)
        return codes
