# SPDX-License-Identifier: BSL-1.0
"""Counts the user instructions of a program, or of a server per request: a figure that a busy machine does not disturb."""

import subprocess

from . import perf

SECONDS = 0.3


def of_run(command, **options):
    """All threads of one run of it, or None where perf or the counter is not to be had. options: subprocess.run's."""
    counted = ["perf", "stat", "-x,", "-e", "instructions:u", "--", *map(str, command)]
    try:
        done = subprocess.run(counted, capture_output=True, text=True, check=True, **options)
        return int(done.stderr.strip().splitlines()[-1].split(",")[0])
    except (OSError, ValueError, IndexError, subprocess.CalledProcessError):
        return None


def per_request(generator, server, cell):
    """Of a server that runs, the making of the connections included; None as above."""
    return perf.per_request("instructions:u", generator, server, cell, SECONDS)
