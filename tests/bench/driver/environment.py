# SPDX-License-Identifier: BSL-1.0
"""What a figure depends on besides the code: kernel, processor, compiler, TCP settings."""

import os
import platform
import subprocess
from pathlib import Path

from . import build


def _first_line(path):
    try:
        return Path(path).read_text().splitlines()[0].strip()
    except (OSError, IndexError):
        return "unknown"


def _cpu_model():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model", "uarch")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _compiler(build_dir):
    path = build.cache_entry(build_dir, "CMAKE_CXX_COMPILER")
    if not path:
        return "unknown"
    try:
        text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        return text.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def congestion_control():
    return _first_line("/proc/sys/net/ipv4/tcp_congestion_control")


def machine(build_dir):
    return {
        "kernel": platform.release(),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} CPUs",
        "compiler": _compiler(build_dir),
        "build type": build.cache_entry(build_dir, "CMAKE_BUILD_TYPE") or "unknown",
    }


def pinned(options):
    return f"server to cpu {', '.join(map(str, options.server_cpu))}, generator to cpu {options.load_cpu}"


def describe(build_dir, options):
    return machine(build_dir) | {
        "pinned": pinned(options),
        "congestion control": congestion_control(),
        "backend": options.backend,
        "spin": f"{options.spin} us",
        "messages in flight": ", ".join(map(str, options.depths)),
        "runs": f"{options.pairs} pairs of {options.seconds:g} s per cell",
    }
