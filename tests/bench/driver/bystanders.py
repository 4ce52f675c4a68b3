# SPDX-License-Identifier: BSL-1.0
"""How much of our CPUs other processes, or the host, took while a program ran."""

import os
import resource
import time
from pathlib import Path

USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL = range(8)  # columns of /proc/stat, proc(5)


def _busy_seconds(cpus):
    """Of these CPUs since the start of the machine, without interrupts: nobody knows whose they are."""
    names = {f"cpu{cpu}" for cpu in cpus}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *columns = line.split()
        if name in names:
            ticks += sum(int(columns[column]) for column in (USER, NICE, SYSTEM, STEAL))
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds():
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
    return sum(part.ru_utime + part.ru_stime for part in usage)


class Watch:
    """From its making on. The children in question must have been waited for before share() is called."""

    def __init__(self, cpus):
        self._cpus = cpus
        self._start = time.monotonic(), _busy_seconds(cpus), _own_seconds()

    def share(self):
        """What others took, as a part of the time of all these CPUs. Good to some 20 ms for each CPU."""
        now = time.monotonic(), _busy_seconds(self._cpus), _own_seconds()
        wall, busy, own = (end - start for end, start in zip(now, self._start))
        return max(0.0, (busy - own) / (wall * len(self._cpus)))
