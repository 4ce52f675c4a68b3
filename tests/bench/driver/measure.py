# SPDX-License-Identifier: BSL-1.0
"""Runs of the load generator: one, one that is repeated when it was disturbed, and all pairs of all cells."""

import math
import subprocess
import sys
import time
from dataclasses import dataclass, field

from . import processes

WARM_UP = 0.2           # seconds
START_AND_STOP = 0.1    # seconds that a run takes besides
BETWEEN_YARDSTICKS = 2  # runs of other servers, at most


class LoadError(Exception):
    """The generator failed, or found that the server does not echo."""


@dataclass(frozen=True)
class Cell:
    connections: int
    size: int
    depth: int = 1  # messages in flight per connection
    rate: float = 0  # messages per second of an open loop; 0: closed
    churn: bool = False  # connect, one message, close; `connections` at a time
    reset: bool = False  # churn: the client ends by a reset

    def __str__(self):
        in_flight = f" x {self.depth} in flight" if self.depth > 1 else ""
        rate = f" at {self.rate:,.0f}/s" if self.rate else ""
        return f"{self.connections} x {format_size(self.size)}{in_flight}{rate}{' churn' if self.churn else ''}"


def format_size(size):
    return f"{size // 1024} KiB" if size >= 1024 and size % 1024 == 0 else f"{size} B"


ODD_CELL = Cell(connections=8, size=10007, depth=3)  # messages that straddle every buffer


@dataclass
class CellResult:
    """Per server name: the accepted runs, in the order of the pairs. The others: per request, or None."""

    runs: dict = field(default_factory=dict)
    syscalls: dict = field(default_factory=dict)
    instructions: dict = field(default_factory=dict)


def _pressure_us():
    """How long some task has waited for a CPU so far, in microseconds; None where the kernel does not tell."""
    try:
        with open("/proc/pressure/cpu", encoding="ascii") as file:
            return int(file.readline().rpartition("total=")[2])
    except (OSError, ValueError):
        return None


def parse_line(text):
    """The generator's `key=value ...` line as a dictionary of numbers."""
    return {key: float(value) for key, _, value in (word.partition("=") for word in text.split())}


class Generator:
    """`verify`: every run compares every byte, not only those that ask for it."""

    def __init__(self, program, options, verify=False):
        self._program = program
        self._options = options
        self._verify = verify

    def command(self, server, cell, seconds, warm_up, depth, verify=False):
        words = [self._program, "-q", "-u", "-p", server.port, "-n", cell.connections, "-s", cell.size]
        words += ["-D", depth, "-d", seconds, "-w", warm_up, "-c", self._options.load_cpu, "-P", server.pid]
        words += ["-r", cell.rate] if cell.rate else []
        words += ["-C"] if cell.churn else []
        words += ["-R"] if cell.reset else []
        return words + ["-V"] if verify or self._verify else words

    def run(self, server, command, seconds):
        """Runs a generator command (perhaps under another program) to its end; returns its figures."""
        server.check_alive()
        process = processes.spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            output, errors = process.communicate(timeout=seconds + 30)
        except subprocess.TimeoutExpired:
            raise LoadError(f"{server.name}: the generator did not end") from None
        finally:
            processes.kill(process)
        if process.returncode:
            server.check_alive()
            what = errors.strip() or f"the generator ended with status {process.returncode}"
            raise LoadError(f"{server.name}: {what}")
        server.check_alive()
        figures = parse_line(output)
        if not figures.get("requests"):
            raise LoadError(f"{server.name}: no request was answered")
        return figures

    def measure(self, server, cell):
        """One run with its CPU pressure added, in percent of its time."""
        command = self.command(server, cell, self._options.seconds, WARM_UP, cell.depth)
        before, start = _pressure_us(), time.monotonic()
        figures = self.run(server, command, self._options.seconds + WARM_UP)
        after, wall = _pressure_us(), time.monotonic() - start
        figures["pressure"] = 0.0 if before is None or after is None else (after - before) / wall / 1e4
        return figures

    def verify(self, server, cell=ODD_CELL, seconds=0.3):
        """A short run that compares every byte."""
        self.run(server, self.command(server, cell, seconds, 0, cell.depth, verify=True), seconds)


class Campaign:
    """All pairs of all cells over servers that are all running; only one of them has work at a time.

    A round of a cell runs the server under test, and the peers, between the two yardsticks, and the yardstick once more
    after every second of them, only to see how fast the machine is; the next round has the opposite order, so that
    neither member of a pair always goes first. Two things disqualify a measurement, and neither looks at the server
    under test:
      - a run, in which tasks waited for a CPU (other work on this machine) for too large a part of its time; but for
        that of a server whose own threads take turns on its CPUs, and so wait;
      - a round, in which the runs of the yardsticks differ too much (in the figure `steady`): the machine has changed
        its speed, as a virtual one does when its host has other work, which this machine's own pressure does not show.
    """

    def __init__(self, generator, servers, options, cells=None, steady="req_s"):
        self._generator = generator
        self._subject, first, last, *peers = servers
        self._yardsticks = [first, last]
        self._order = [first]
        for number, server in enumerate([self._subject, *peers]):
            if number and number % BETWEEN_YARDSTICKS == 0:
                self._order.append(first)
            self._order.append(server)
        self._order.append(last)
        self._options = options
        self._steady = steady
        self.cells = cells or [Cell(n, s, d) for d in options.depths for n in options.conns for s in options.sizes]
        self.planned = len(self.cells) * options.pairs * len(self._order)
        # Repeats may at most double the whole; within that, each run and each round has its own bound.
        self._repeats_left = self.planned if options.repeats else 0

    @property
    def repeated(self):
        return self.planned - self._repeats_left if self._options.repeats else 0

    def seconds_planned(self):
        return self.planned * (self._options.seconds + WARM_UP + START_AND_STOP)

    def run(self):
        order = list(self._order)
        results = {cell: CellResult({s.name: [] for s in order}) for cell in self.cells}
        for number in range(self._options.pairs):
            for cell in self.cells:
                runs = self._round(order, cell)
                for name, figures in runs.items():
                    results[cell].runs[name].append(figures)
                rates = "  ".join(f"{name} {figures['req_s']:.0f}/s" for name, figures in runs.items())
                print(f"pair {number + 1}/{self._options.pairs}  {cell}:  {rates}", file=sys.stderr)
            order.reverse()
        return results

    def _round(self, order, cell):
        """Repeats the round until the machine kept its speed; the steadiest round when it never did."""
        best, least_drift = None, math.inf
        for attempt in range(self._options.repeats + 1):
            if attempt and not self._may_repeat(len(order)):
                break
            runs, measured = {}, []
            for server in order:
                figures = self._run(server, cell)
                if server in self._yardsticks:
                    measured.append(figures[self._steady])
                if server.name not in runs or self._subject.name not in runs:  # of several, the one near the subject's
                    runs[server.name] = figures
            drift = (max(measured) / min(measured) - 1) * 100 if min(measured) else math.inf
            if drift < least_drift:
                best, least_drift = runs, drift
            if drift <= self._options.max_drift:
                break
        for figures in best.values():
            figures["drift"] = least_drift
            figures["disturbed"] |= least_drift > self._options.max_drift
        return best

    def _run(self, server, cell):
        """Repeats the run until nothing else wanted the CPUs; the least disturbed run when that never was."""
        best = None
        most = math.inf if server.takes_turns else self._options.max_pressure
        for attempt in range(self._options.repeats + 1):
            if attempt and not self._may_repeat(1):
                break
            figures = self._generator.measure(server, cell)
            if best is None or figures["pressure"] < best["pressure"]:
                best = figures
            if best["pressure"] <= most:
                break
        best["disturbed"] = best["pressure"] > most
        return best

    def _may_repeat(self, runs):
        if self._repeats_left < runs:
            return False
        self._repeats_left -= runs
        return True
