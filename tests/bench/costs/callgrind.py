# SPDX-License-Identifier: BSL-1.0
"""Runs bench_costs under callgrind and reads what it has counted."""

import os
import re
import shutil
import subprocess
from collections import Counter

# As good as nothing: what is in the environment moves the stack. The C library's choice of memcpy and the like must not
# depend on the processor, so that it gets those of the oldest.
ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-ERMS,-FSRM,-RTM,-SSSE3,-SSE4_1,-SSE4_2",
    "LD_BIND_NOW": "1",
    "LC_ALL": "C",
}


class Failed(Exception):
    pass


class NotHere(Failed):
    pass


def missing():
    """Why callgrind cannot be used here, or None."""
    if os.uname().machine != "x86_64":
        return "the accepted figures are for x86-64"
    if not shutil.which("valgrind"):
        return "no valgrind (Debian: apt-get install valgrind)"
    if subprocess.run(["valgrind", "-q", "--tool=none", "true"], capture_output=True, check=False).returncode:
        return "valgrind does not run here"
    return None


def run(program, arguments, out, options=()):
    """The number of operations; the counts are in the file `out`."""
    command = [
        shutil.which("valgrind"),
        "--command-line-only=yes",
        "--tool=callgrind",
        f"--callgrind-out-file={out}",
        "--toggle-collect=*costs_uncounted*",
        "--collect-atstart=yes",
        *options,
        f"./{program.name}",
        *map(str, arguments),
    ]
    done = subprocess.run(
        command, cwd=program.parent, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=100
    )
    if done.returncode == 77:
        raise NotHere(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise Failed(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return int(done.stdout)


def total(out):
    for line in out.read_text().splitlines():
        if line.startswith("totals:"):
            return int(line.split()[1])
    raise Failed(f"{out} has no totals")


NAME = re.compile(r"(fl|fi|fe|fn|ob|cfi|cfl|cfn|cob)=\((\d+)\)(?: (.*))?$")


def self_costs(out):
    """Counter of (object, file of the function, file of the line, function): instructions."""
    names = {"file": {}, "fn": {}, "ob": {}}
    kinds = {"fl": "file", "fi": "file", "fe": "file", "cfi": "file", "cfl": "file", "fn": "fn", "cfn": "fn"}
    costs = Counter()
    object_name = own_file = line_file = function = ""
    skip = False
    for line in out.read_text().splitlines():
        named = NAME.match(line)
        if named:
            what, number, name = named.groups()
            table = names[kinds.get(what, "ob")]
            if name is not None:
                table[number] = name
            name = table[number]
            if what == "ob":
                object_name = name
            elif what == "fn":
                function = name
            elif what == "fl":
                own_file = line_file = name
            elif what in ("fi", "fe"):
                line_file = name
        elif line.startswith("calls="):
            skip = True  # the next line is what the callee took
        elif line and line[0] in "0123456789+-*":
            if not skip:
                costs[object_name, own_file, line_file, function] += int(line.split()[1])
            skip = False
    return costs
