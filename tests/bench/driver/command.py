# SPDX-License-Identifier: BSL-1.0
"""What the commands beside ../run share: their options, their servers, how a run of theirs goes and what it prints."""

import argparse
import ctypes
import json
import os
import shlex
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from . import build, environment, processes
from .measure import START_AND_STOP, WARM_UP, Campaign, Generator, LoadError
from .report import NOTES, generator_was_the_limit, ratio

SKIPPED = 77
READY_LINE = "echo: listening on "
SUBJECT, YARDSTICK, CONTROL = "chainring", "yardstick", "yardstick2"
SPINNING = (
    "no server (by default one worker does not, nor do more workers than CPUs); the generator in an open loop, where it "
    "never sleeps, and not otherwise"
)
LATE = "`l`: the generator itself was late: its 99th percentile is over a tenth of the smaller one of the servers."
UNANSWERED = "`u`: some messages had no answer a second after the end; they count with the time that they had waited."


class Skipped(Exception):
    """With --smoke: something that is needed is not to be had here."""


# ---- options


def numbers(text):
    return [int(word) for word in text.replace(",", " ").split()]


def named_server(text):
    name, separator, command = text.partition("=")
    if not separator or not name or not shlex.split(command) or name in (SUBJECT, YARDSTICK, CONTROL):
        raise argparse.ArgumentTypeError("a server is given as NAME=COMMAND")
    return name, shlex.split(command)


def parser(doc, seconds, peers=True):
    """With the options that all of these commands have."""
    result = argparse.ArgumentParser(description=" ".join(doc.split("\n\n")[0].split()))
    add = result.add_argument
    add("--pairs", type=int, default=5, help="runs of each server per cell (5)")
    add("--seconds", type=float, default=seconds, help=f"measured time of a run ({seconds:g})")
    add("--size", type=int, default=64, help="bytes of a message (64)")
    add("--backend", choices=("uring", "epoll"), default="uring")
    if peers:
        add("--server", type=named_server, action="append", default=[], metavar="NAME=CMD", dest="peers",
            help="measure this server, too; {port} and {threads} are replaced; may be given several times")
    add("--json", type=Path, metavar="FILE", help="write everything, each run included")
    add("--repeats", type=int, default=3, help="how often a disturbed run, or round, is repeated (3)")
    add("--max-pressure", type=float, default=12.0, metavar="PERCENT", help="CPU pressure that disturbs a run (12)")
    add("--max-drift", type=float, default=20.0, metavar="PERCENT", help="between yardsticks in one round (20)")
    add("--server-cpu", type=numbers, metavar="N,...", help="the CPUs of the servers (the first that we may use)")
    add("--load-cpu", type=int, help="the generator's CPU (the second that we may use)")
    add("--build-dir", type=Path, default=build.RELEASE, help="build/release")
    add("--jobs", type=int, default=os.cpu_count(), help="of the build")
    add("--no-build", action="store_true")
    add("--smoke", action="store_true", help="one short cell, nothing is built; a check of this program")
    return result


def parse(options_parser):
    options = options_parser.parse_args()
    if options.smoke:
        options.pairs, options.seconds, options.repeats, options.no_build = 1, 0.1, 0, True
    if min(options.pairs, options.size) < 1 or options.seconds <= 0:
        options_parser.error("pairs, seconds and size must be above zero")
    choose_cpus(options)
    options.build_dir = options.build_dir.resolve()
    return options


def choose_cpus(options):
    cpus = sorted(os.sched_getaffinity(0))
    if options.server_cpu is None:
        options.server_cpu = cpus[:1]
    if options.load_cpu is None:
        options.load_cpu = cpus[1] if len(cpus) > 1 else cpus[0]
    if options.load_cpu in options.server_cpu:
        print("warning: server and generator share a CPU: the figures mean little", file=sys.stderr)


def has_io_uring():
    """Whether this process may set up a ring; containers often forbid it."""
    libc = ctypes.CDLL(None, use_errno=True)
    io_uring_setup, params = 425, ctypes.create_string_buffer(120)
    fd = libc.syscall(io_uring_setup, 1, params)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


# ---- servers


def yardstick_command(programs, options):
    command = [programs.yardstick(options.backend), "-p", "{port}", "-S", "{spin}"]
    if options.backend == "uring":
        command += ["-b", "16384", "-n", "256", "-v"]
    return command


def chainring(programs, options, threads, name=SUBJECT):
    sample = [programs.echo, "--listen", "127.0.0.1:{port}", "--threads", threads, "--backend", options.backend]
    if options.smoke and not programs.echo.exists():  # a build without samples
        yardstick = [*yardstick_command(programs, options), "-t", threads]
        return processes.Server(name, yardstick, 0, options.server_cpu, threads=threads)
    return processes.Server(name, sample, 0, options.server_cpu, READY_LINE, threads=threads)


def make_servers(programs, options, threads=1):
    """The server under test, the yardstick, the yardstick once more for the A/A control, and the others."""

    def server(name, command):
        words = [str(word).replace("{threads}", str(threads)) for word in command]
        return processes.Server(name, words, 0, options.server_cpu, threads=threads)

    yardstick = [*yardstick_command(programs, options), "-t", threads]
    servers = [chainring(programs, options, threads), server(YARDSTICK, yardstick), server(CONTROL, yardstick)]
    return servers + [server(name, command) for name, command in options.peers]


class Running:
    """With servers that have been started, each of which has proved in every one of `checks` that it echoes."""

    def __init__(self, generator, servers, checks):
        self._generator = generator
        self._servers = servers
        self._checks = checks

    def __enter__(self):
        try:
            for server in self._servers:
                server.start()
            for server in self._servers:
                for cell in self._checks:
                    self._generator.verify(server, cell)
        except BaseException:
            self.__exit__()
            raise
        return self._servers

    def __exit__(self, *_):
        for server in self._servers:
            server.stop()


def make_generator(programs, options):
    return Generator(programs.load, options, verify=True)


def run_campaign(generator, servers, options, cells, steady="req_s"):
    """The runs of all servers, and how many had to be repeated."""
    campaign = Campaign(generator, servers, options, cells, steady)
    seconds = campaign.planned * (options.seconds + WARM_UP + START_AND_STOP)
    print(f"{len(cells)} cells, {campaign.planned} runs: about {seconds:.0f} s", file=sys.stderr)
    return campaign.run(), campaign.repeated


# ---- results


def middle(runs, key, form="{:.0f}"):
    return form.format(median(run[key] for run in runs))


def median_of(runs, what):
    return median(what(run) for run in runs)


def with_range(runs, what, form="{:.2f}"):
    """The median and the range of what a run gives."""
    values = [what(run) for run in runs]
    low, high = (form.format(pick(values)) for pick in (min, max))
    return f"{form.format(median(values))} ({low}–{high})"


def in_order(result):
    """The names of its servers as a table has them."""
    others = [name for name in result.runs if name not in (SUBJECT, CONTROL, YARDSTICK)]
    return [SUBJECT, *others, CONTROL, YARDSTICK]


def notes_of(result, open_loop=False):
    """The marks of a cell of all its servers."""
    everyone = list(result.runs.values())
    marks = ""
    if any(generator_was_the_limit(runs) for runs in everyone):
        marks += "g"
    if any(run["disturbed"] for runs in everyone for run in runs):
        marks += "d"
    if open_loop:
        late = max(median(run["late_p99_us"] for run in runs) for runs in everyone)
        if late > min(median(run["p99_us"] for run in runs) for runs in everyone) / 10:
            marks += "l"
        if any(run["unanswered"] for runs in everyone for run in runs):
            marks += "u"
    return marks


@dataclass
class Goal:
    what: str  # and what was found
    met: bool
    disturbed: bool

    def __str__(self):
        verdict = "met" if self.met else "NOT met"
        return f"{self.what}: {verdict}{', but the cell was disturbed: measure again' if self.disturbed else ''}"


def goal(what, met, result):
    return Goal(what, met, "d" in notes_of(result))


@dataclass
class Report:
    about: dict
    text: str  # tables
    goals: list = field(default_factory=list)
    marks: str = ""  # of all rows
    lines: list = field(default_factory=list)
    repeated: int = 0
    runs: dict = field(default_factory=dict)  # for JSON

    def markdown(self):
        lines = [f"- {key}: {value}" for key, value in self.about.items()]
        lines += ["", self.text, ""]
        lines += [f"- goal: {each}" for each in self.goals]
        lines += [f"- {line}" for line in self.lines]
        if self.repeated:
            lines.append(f"- runs repeated because of a disturbance: {self.repeated}")
        for mark, text in (NOTES | {"l": LATE, "u": UNANSWERED}).items():
            if mark in self.marks:
                lines.append(f"- {text}")
        return "\n".join(lines)

    def as_json(self):
        return {"environment": self.about, "goals": [asdict(each) for each in self.goals], "notes": self.lines, "runs": self.runs}


def cells_as_json(results):
    return [asdict(cell) | {"runs": result.runs} for cell, result in results.items()]


def about(options, **more):
    return environment.machine(options.build_dir) | {
        "pinned": environment.pinned(options),
        "congestion control": environment.congestion_control(),
        "backend": options.backend,
        "runs": f"{options.pairs} pairs of {options.seconds:g} s per cell, interleaved; medians (lowest–highest)",
        "checked": "every byte of every run",
        **more,
        "who spins": SPINNING,
    }


def compare(result, name, key, base=YARDSTICK):
    return ratio(result.runs[name], result.runs[base], key)


# ---- main()


def main(options, measure):
    """`measure(programs, options)` gives the report. The exit status is that of ../run."""
    if options.smoke and not has_io_uring():
        print("skipped: no io_uring here, and the generator needs it")
        return SKIPPED
    processes.install_cleanup()
    programs = build.Programs(options.build_dir)
    try:
        if not options.no_build:
            targets = ["yardstick_uring", "yardstick_epoll", "yardstick_load", "sample_echo"]
            build.build(options.build_dir, targets, options.jobs)
        report = measure(programs, options)
    except Skipped as reason:
        print(f"skipped: {reason}")
        return SKIPPED
    except build.BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (LoadError, processes.ServerError) as error:
        print(f"error: {error}\nno table: a result with errors is not a result", file=sys.stderr)
        skip = options.smoke and getattr(error, "status", None) == SKIPPED
        return SKIPPED if skip else 1
    print(report.markdown())
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    return 0
