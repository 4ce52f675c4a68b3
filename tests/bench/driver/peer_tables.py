# SPDX-License-Identifier: BSL-1.0
"""The tables of all servers: ratios to each peer, what a request costs each, what an idle connection does."""

from dataclasses import asdict
from statistics import median

from .report import CELL_HEAD, cell_words, generator_was_the_limit, ratio, table

PER_REQUEST = (
    "What a request costs each server: medians; ratios: the first server to this one. System calls and user "
    "instructions are counted in short runs of their own."
)
PER_CONNECTION = (
    "Memory of the process for each of {count:,} idle connections (growth of Pss; the kernel's sockets are not in it): "
    "never used, and after each has carried one message of 16 KiB, one after the other."
)


class PeerTables:
    """`names`: the server under test first, the others in the order of the columns; `yardstick` is one of them.

    `memory`: {name: Memory} of `idle` connections; empty where it was not measured.
    """

    def __init__(self, names, yardstick, results, memory, idle):
        self._subject, *self._others = names
        self._peers = [name for name in self._others if name != yardstick]
        self._results = results
        self._memory = memory
        self._idle = idle

    def markdown(self):
        parts = []
        if self._peers:
            parts += [self._title(), self._ratios(), self._behind(), PER_REQUEST, self._costs()]
        if self._memory:
            parts += [PER_CONNECTION.format(count=self._idle), self._connections()]
        return "\n\n".join(parts)

    def _title(self):
        return (
            f"Requests per second, {self._subject} : peer (above 1 is in {self._subject}'s favour; `g`: the generator "
            "was the limit of one of the two or both, compare CPU per request):"
        )

    def _rate(self, result, name):
        return ratio(result.runs[self._subject], result.runs[name], "req_s")

    def _ratios(self):
        rows = []
        for cell, result in self._results.items():
            row = cell_words(cell)
            for name in self._peers:
                limited = any(generator_was_the_limit(result.runs[which]) for which in (self._subject, name))
                row.append(f"{self._rate(result, name)}{' g' if limited else ''}")
            rows.append(row)
        return table(CELL_HEAD + self._peers, rows)

    def _behind(self):
        """Where a peer is ahead, by requests per second or CPU time per request."""
        lines = []
        for cell, result in self._results.items():
            for name in self._peers:
                subject, peer = (result.runs[which] for which in (self._subject, name))
                rate, cpu = ratio(subject, peer, "req_s"), ratio(subject, peer, "server_us_req")
                if rate.median < 1 or cpu.median > 1:
                    lines.append(f"- {self._subject} behind {name}: {cell}: req/s {rate}, CPU per request {cpu}")
        return "\n".join(lines) or f"- {self._subject} is behind no peer, neither in requests/s nor in CPU per request"

    def _costs(self):
        head = ["server", *CELL_HEAD, "req/s", f"{self._subject} : it", "CPU us/req", f"{self._subject} : it"]
        head += ["syscalls/req", "user instr/req", "p50 us", "p99 us", "note"]
        rows = []
        for cell, result in self._results.items():
            for name in [self._subject, *self._others]:
                rows.append([name, *cell_words(cell), *self._costs_of(result, name)])
        return table(head, rows)

    def _costs_of(self, result, name):
        runs, subject = result.runs[name], result.runs[self._subject]

        def middle(key, form):
            return form.format(median(run[key] for run in runs))

        def against(key):
            return "" if name == self._subject else str(ratio(subject, runs, key))

        def counted(figures, form):
            value = figures.get(name)
            return "-" if value is None else form.format(value)

        return [
            middle("req_s", "{:.0f}"),
            against("req_s"),
            middle("server_us_req", "{:.2f}"),
            against("server_us_req"),
            counted(result.syscalls, "{:.2f}"),
            counted(result.instructions, "{:.0f}"),
            middle("p50_us", "{:.0f}"),
            middle("p99_us", "{:.0f}"),
            "g" * generator_was_the_limit(runs) + "d" * any(run["disturbed"] for run in runs),
        ]

    def _connections(self):
        head = ["server", "never used, bytes", "after one message, bytes", "process with one connection, KiB"]
        return table(head, [
            [name, f"{memory.unused:,.0f}", f"{memory.used:,.0f}", f"{memory.base / 1024:,.0f}"]
            for name, memory in self._memory.items()
        ])

    def memory_as_json(self):
        return {"connections": self._idle, "servers": {name: asdict(memory) for name, memory in self._memory.items()}}
