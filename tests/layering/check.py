#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks the rules about which file may include what.

usage: check.py ROOT | check.py --self-test

- runtime includes nothing from sync or net; sync nothing from net.
- A public header includes no liburing header, none of <sys/...> or <linux/...>, and none by "...".
- No file has an absolute path of somebody's machine in it, nor an include of one.
- Every source and script starts with its SPDX line.
"""

import re
import sys
import tempfile
from pathlib import Path

# What each folder may use, itself first: the order in which <chainring/...> is looked up.
LAYERS = {
    "runtime": ["runtime"],
    "sync": ["sync", "runtime"],
    "net": ["net", "sync", "runtime"],
}
TOP_FOLDERS = ["runtime", "sync", "net", "samples", "tests", "docs", "cmake", ".ci"]
SOURCE_SUFFIXES = {".hpp", ".cpp", ".h", ".c", ".in", ".cmake", ".py", ".sh"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
MACHINE_HEADER = re.compile(r"^(liburing(\.h$|/)|sys/|linux/)")
MACHINE_PATH = re.compile(r"(?<![\w.$}~*/-])/(home|root|Users|work)/\w")
SPDX = re.compile(r"^(//|#) SPDX-License-Identifier: BSL-1\.0$")


def files_of(root):
    """Every file that is ours, in a fixed order; no build output, nothing binary."""
    found = [path for path in root.iterdir() if path.is_file()]
    for folder in TOP_FOLDERS:
        found += [path for path in (root / folder).rglob("*") if path.is_file()]
    return sorted(path for path in found if "__pycache__" not in path.parts)


def folder_of(root, path):
    return path.relative_to(root).parts[0]


def owner_of_include(root, path, quoted, name):
    """The top-level folder that an include reaches, or None for one that is not ours."""
    if quoted:
        for start in (path.parent, root):
            reached = (start / name).resolve()
            if reached.is_file() and reached.is_relative_to(root):
                return folder_of(root, reached)
    own = folder_of(root, path)
    for folder in LAYERS[own] + [other for other in LAYERS if other not in LAYERS[own]]:
        if any((root / folder / "include" / (name + end)).is_file() for end in ("", ".in")):
            return folder
    return None


def check_include(root, path, quoted, name):
    own = folder_of(root, path)
    if name.startswith("/"):
        yield f"includes the absolute path {name}"
    if own not in LAYERS:
        return
    owner = owner_of_include(root, path, quoted, name)
    if owner is not None and owner not in LAYERS[own]:
        yield f"{own} must not include {name}, which is in {owner}"
    if path.relative_to(root).parts[1] == "include":
        if MACHINE_HEADER.match(name):
            yield f"a public header must not include {name}"
        elif quoted:
            yield f"a public header must include <chainring/...>, not {name}: only that is installed"


def wants_spdx(path, lines):
    return (
        path.suffix in SOURCE_SUFFIXES
        or path.name == "CMakeLists.txt"
        or lines[:1] and lines[0].startswith("#!")
    )


def check_file(root, path):
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return  # a binary file: test data
    if wants_spdx(path, lines):
        first = lines[1:2] if lines and lines[0].startswith("#!") else lines[:1]
        if not (first and SPDX.match(first[0])):
            yield 1, "does not start with its SPDX line"
    is_cpp = path.suffix in {".hpp", ".cpp", ".h", ".c"} or path.name.endswith(".hpp.in")
    for number, line in enumerate(lines, 1):
        if MACHINE_PATH.search(line):
            yield number, "has an absolute path of one machine"
        include = INCLUDE.match(line) if is_cpp else None
        if include:
            for problem in check_include(root, path, include[1] == '"', include[2]):
                yield number, problem


def check(root):
    root = root.resolve()
    return [
        f"{path.relative_to(root)}:{number}: {problem}"
        for path in files_of(root)
        for number, problem in check_file(root, path)
    ]


def self_test():
    """Plants one breach of each rule in a tree that is otherwise clean, and looks for it."""
    spdx = "// SPDX-License-Identifier: BSL-1.0\n"
    clean = {
        "runtime/include/chainring/low.hpp": spdx + "#include <vector>\n",
        "runtime/src/low.cpp": spdx + "#include <sys/socket.h>\n#include <chainring/low.hpp>\n",
        "sync/src/middle.hpp": spdx + "#include <chainring/low.hpp>\n",
        "net/include/chainring/high.hpp": spdx + "#include <chainring/low.hpp>\n",
        "net/src/high.cpp": spdx + '#include "sync/src/middle.hpp"\n#include <net/if.h>\n',
        "docs/page.md": "see /proc/self and runtime/" "root/x\n",
    }
    breaches = {
        "runtime/src/a.cpp": spdx + "#include <chainring/high.hpp>\n",
        "runtime/src/b.cpp": spdx + '#include "../../net/include/chainring/high.hpp"\n',
        "runtime/src/c.cpp": spdx + '#include "sync/src/middle.hpp"\n',
        "sync/src/c.cpp": spdx + "#include <chainring/high.hpp>\n",
        "net/include/chainring/d.hpp": spdx + "#include <liburing.h>\n",
        "sync/include/chainring/e.hpp": spdx + "#  include <sys/socket.h>\n",
        "net/include/chainring/f.hpp": spdx + "#include <linux/time_types.h>\n",
        "net/include/chainring/g.hpp": spdx + '#include "sync/src/middle.hpp"\n',
        "net/src/g.cpp": spdx + '#include "/opt/x.hpp"\n',
        "docs/h.md": "built in " + "/home" + "/someone\n",
        "net/src/i.cpp": "#include <vector>\n",
        "tests/j": "#!/bin/sh\nexit 0\n",
    }

    def run(tree):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in tree.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return check(Path(folder))

    wrong = [f"clean tree: {problem}" for problem in run(clean)]
    for name, text in breaches.items():
        problems = run(clean | {name: text})
        if len(problems) != 1 or not problems[0].startswith(name + ":"):
            wrong.append(f"{name}: expected one problem there, found {problems}")
    return wrong


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    problems = self_test() if sys.argv[1] == "--self-test" else check(Path(sys.argv[1]))
    print("\n".join(problems) or "no problem found")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
