# SPDX-License-Identifier: BSL-1.0
"""Counts an event in a running server while the generator works."""

import subprocess
import tempfile


def per_request(event, generator, server, cell, seconds):
    """How often it occurs for a request, in a run of its own; None where perf or the event is not to be had.

    Without a warm-up: the generator's number of requests is that of the whole run, as the count is.
    """
    with tempfile.NamedTemporaryFile("r") as log:
        perf = ["perf", "stat", "-x", ",", "-o", log.name, "-e", event, "-p", str(server.pid), "--"]
        try:
            if subprocess.run([*perf, "true"], capture_output=True, check=False).returncode:
                return None
        except OSError:
            return None
        figures = generator.run(server, perf + generator.command(server, cell, seconds, 0, cell.depth), seconds)
        for line in log:
            value, _, rest = line.partition(",")
            if event in rest and value.isdigit():
                return int(value) / figures["requests"]
    return None
