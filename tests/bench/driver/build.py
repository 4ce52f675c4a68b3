# SPDX-License-Identifier: BSL-1.0
"""Configures and builds what a run needs, and says where the programs are."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
RELEASE = REPOSITORY / "build" / "release"


class BuildError(Exception):
    pass


@dataclass(frozen=True)
class Programs:
    """Where one build directory has them; they need not exist."""

    build_dir: Path

    @property
    def echo(self):
        return self.build_dir / "samples" / "echo"

    @property
    def load(self):
        return self.build_dir / "tests" / "bench" / "yardstick_load"

    def yardstick(self, backend):
        return self.build_dir / "tests" / "bench" / f"yardstick_{backend}"


def _run(command):
    print("==>", " ".join(command), file=sys.stderr)
    # The output of a build is no part of the result: it goes to stderr.
    if subprocess.run(command, cwd=REPOSITORY, stdout=sys.stderr, check=False).returncode:
        raise BuildError(f"failed: {' '.join(command)}")


def configure(build_dir, preset, flags=()):
    """Where nothing is configured yet."""
    if (build_dir / "CMakeCache.txt").exists():
        return
    command = ["cmake", "--preset", preset, "-B", os.path.relpath(build_dir, REPOSITORY), *flags]
    if not (shutil.which("ninja") or shutil.which("ninja-build")):
        command += ["-G", "Unix Makefiles"]
    _run(command)


def build(build_dir, targets, jobs):
    """Configures the release preset where nothing is configured yet, then builds the targets."""
    if build_dir == RELEASE:
        configure(build_dir, "release")
    elif not (build_dir / "CMakeCache.txt").exists():
        raise BuildError(f"{build_dir} is not a configured build directory")
    build_dir = os.path.relpath(build_dir, REPOSITORY)
    _run(["cmake", "--build", build_dir, "--parallel", str(jobs), "--target", *targets])


def cache_entry(build_dir, name):
    """A value of CMakeCache.txt, or None."""
    try:
        lines = (build_dir / "CMakeCache.txt").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition("=")
        if key.partition(":")[0] == name:
            return value
    return None
