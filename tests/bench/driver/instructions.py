# SPDX-License-Identifier: BSL-1.0
"""Counts the user instructions of a program: a figure that a busy machine does not disturb."""

import subprocess


def of_run(command, **options):
    """All threads of one run of it, or None where perf or the counter is not to be had. options: subprocess.run's."""
    counted = ["perf", "stat", "-x,", "-e", "instructions:u", "--", *map(str, command)]
    try:
        done = subprocess.run(counted, capture_output=True, text=True, check=True, **options)
        return int(done.stderr.strip().splitlines()[-1].split(",")[0])
    except (OSError, ValueError, IndexError, subprocess.CalledProcessError):
        return None
