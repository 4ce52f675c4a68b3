# SPDX-License-Identifier: BSL-1.0
"""Turns runs into ratios, and ratios into a Markdown table or JSON."""

import math
from dataclasses import asdict, dataclass
from statistics import geometric_mean, median

from .measure import format_size

FIGURES = ("req_s", "server_us_req", "p50_us", "p99_us", "server_util", "load_util")

NOTES = {
    "g": "`g`: the generator was the limit (over 97 % of its CPU, the server under 90 %): "
    "compare CPU per request, not requests/s.",
    "d": "`d`: a disturbed run or round is among the figures; it was repeated in vain.",
}


@dataclass(frozen=True)
class Ratio:
    """Of one figure in each pair."""

    median: float
    low: float
    high: float

    def __str__(self):
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(runs, base_runs, key):
    values = [a[key] / b[key] for a, b in zip(runs, base_runs) if b[key]]
    if not values:
        return Ratio(math.nan, math.nan, math.nan)
    return Ratio(median(values), min(values), max(values))


def table(head, rows):
    """In Markdown, with the figures after the first column."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


CELL_HEAD = ["conns", "in flight", "message"]


def cell_words(cell):
    """What fills the columns of CELL_HEAD."""
    return [str(cell.connections), str(cell.depth), format_size(cell.size)]


def _median(runs, key):
    return median(run[key] for run in runs)


def generator_was_the_limit(runs):
    return _median(runs, "load_util") > 97 and _median(runs, "server_util") < 90


class Row:
    """One cell's figures. `names`: the server under test, the yardstick, its second instance, and the peers."""

    def __init__(self, cell, result, names):
        subject, base, control = (result.runs[name] for name in names[:3])
        self.cell = cell
        self.rate = ratio(subject, base, "req_s")
        self.cpu = ratio(subject, base, "server_us_req")
        self.control = ratio(control, base, "req_s")
        self.medians = [
            {key: _median(runs, key) for key in FIGURES} for runs in (subject, base)
        ]
        self.syscalls = [result.syscalls.get(name) for name in names[:2]]
        self.notes = ""
        if generator_was_the_limit(subject) or generator_was_the_limit(base):
            self.notes += "g"
        if any(run["disturbed"] for runs in (subject, base, control) for run in runs):
            self.notes += "d"

    def _both(self, key, form):
        return " / ".join(form.format(m[key]) for m in self.medians)

    def cells(self):
        return [
            *cell_words(self.cell),
            str(self.rate),
            str(self.cpu),
            str(self.control),
            self._both("req_s", "{:.0f}"),
            self._both("server_us_req", "{:.2f}"),
            " / ".join("-" if s is None else f"{s:.2f}" for s in self.syscalls),
            self._both("p50_us", "{:.0f}"),
            self._both("p99_us", "{:.0f}"),
            self.notes,
        ]

    def as_json(self):
        names = ("subject", "yardstick")
        return {
            "connections": self.cell.connections,
            "size": self.cell.size,
            "depth": self.cell.depth,
            "rate_ratio": asdict(self.rate),
            "cpu_ratio": asdict(self.cpu),
            "control_ratio": asdict(self.control),
            "medians": dict(zip(names, self.medians)),
            "syscalls_per_request": dict(zip(names, self.syscalls)),
            "notes": self.notes,
        }


class Report:
    """Against the yardstick. `names` as for Row; what the peers did is told in peer_tables.py."""

    def __init__(self, environment, names, results, spin_note, repeated):
        self._environment = environment
        self._names = names
        self._results = results
        self._spin_note = spin_note
        self._repeated = repeated
        self.rows = [Row(cell, result, names) for cell, result in results.items()]

    def markdown(self):
        subject, base, control = self._names[:3]
        head = [*CELL_HEAD, f"req/s {subject} : {base}", "CPU/req", f"A/A: {control} : {base}"]
        head += ["req/s", "CPU us/req", "syscalls/req", "p50 us", "p99 us", "note"]
        lines = [f"- {key}: {value}" for key, value in self._environment.items()]
        lines += [
            "",
            f"Ratios: median of the pairs (lowest–highest). Figures: {subject} / {base}, medians.",
            "",
            "| " + " | ".join(head) + " |",
            "|" + "---:|" * len(head),
        ]
        lines += ["| " + " | ".join(row.cells()) + " |" for row in self.rows]
        lines += [""] + self._summary()
        return "\n".join(lines)

    def _mean(self, what):
        return geometric_mean(getattr(row, what).median for row in self.rows)

    def _summary(self):
        worst = min(self.rows, key=lambda row: row.rate.median)
        lines = [
            f"- geometric mean: req/s {self._mean('rate'):.3f}, CPU per request {self._mean('cpu'):.3f}, "
            f"A/A {self._mean('control'):.3f}",
            f"- worst cell: {worst.cell}: req/s {worst.rate}, CPU per request {worst.cpu}",
            f"- {self._spin_note}",
        ]
        if self._repeated:
            lines.append(f"- runs repeated because of a disturbance: {self._repeated}")
        for mark, text in NOTES.items():
            if any(mark in row.notes for row in self.rows):
                lines.append(f"- {text}")
        return lines

    def as_json(self):
        cells = []
        for row, result in zip(self.rows, self._results.values()):
            cells.append(row.as_json() | {"runs": result.runs, "instructions_per_request": result.instructions})
        return {
            "environment": self._environment,
            "servers": dict(zip(("subject", "yardstick", "control"), self._names)) | {"peers": self._names[3:]},
            "spin": self._spin_note,
            "runs_repeated": self._repeated,
            "geometric_mean": {what: self._mean(what) for what in ("rate", "cpu", "control")},
            "cells": cells,
        }
