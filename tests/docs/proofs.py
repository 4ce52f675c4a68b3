# SPDX-License-Identifier: BSL-1.0
"""docs/design/proofs.md names tests: they exist, interop scripts are registered and run what is named, the rows are all there, and
a row that says yes to the simulator names a test that runs in it. The only argument is the root of the sources."""
import re
import sys
from pathlib import Path

ROWS = [*(f"L{number}" for number in range(1, 24)), "P1", "P2", "P3", "P4", "Q11", "Q13", "R5", "R12", "S2", "S5", "S6", "S8"]
MODELS = {"outbox": "outbox_test", "tokens": "token_test"}  # whose sentences begin with the structure
CASE = re.compile(r'TEST_CASE\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)(.*?)\)\s*\{', re.DOTALL)
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')


def test_cases(root):
    """{(file without .cpp, sentence): whether it runs in the simulator}"""
    cases = {}
    for file in (root / "tests").glob("*/*_test.cpp"):
        for name, decorators in CASE.findall(file.read_text()):
            cases[file.stem, "".join(LITERAL.findall(name)).replace('\\"', '"')] = "not_simulated" not in decorators
    return cases


class Table:
    def __init__(self, root):
        self.root, self.cases, self.faults = root, test_cases(root), []
        self.programs = "\n".join(file.read_text() for file in (root / "tests").glob("*/CMakeLists.txt"))
        self.registered = (root / "tests/interop/CMakeLists.txt").read_text()

    def function(self, script, name):
        file = self.root / "tests/interop" / script
        if not file.exists():
            return f"no script {script}"
        text = file.read_text()
        if f"chainring_interop_test({file.stem} " not in self.registered:
            return f"{script} is not registered in ctest"
        if f"def {name}():" not in text and f"def {name}(threads=1):" not in text:
            return f"{script} has no {name}"
        if not re.search(rf"^(run\(|    run\(|    ).*\b{name}\b", text[text.rindex("run("):], re.MULTILINE):
            return f"{script} does not run {name}"
        return None

    def look(self, row, reference):
        """Whether it runs in the simulator."""
        where, _, what = reference.partition(": ")
        if where.endswith(".py"):
            if fault := self.function(where, what):
                self.faults.append(f"{row}: {fault}")
            return False
        if "/" in where:
            if not (self.root / where).exists():
                self.faults.append(f"{row}: no file {where}")
            return False
        if not what:
            if f"add_executable({where}" not in self.programs:
                self.faults.append(f"{row}: no program {where}")
            return True
        if where in MODELS:
            where, what = MODELS[where], reference
        if (where, what) not in self.cases:
            self.faults.append(f"{row}: no test case '{what}' in {where}.cpp")
        return self.cases.get((where, what), False)

    def check(self):
        rows = []
        for line in (self.root / "docs/design/proofs.md").read_text().splitlines():
            if not re.match(r"\| [LPQRS]\d+ \|", line):
                continue
            row, _, tests, real, sim = (cell.strip() for cell in line.strip("|").split("|"))
            rows.append(row)
            references = [part[1:-1] for part in tests.split("<br>")]
            simulated = [self.look(row, reference) for reference in references]
            if not references or real != "yes":
                self.faults.append(f"{row}: no proof on the real kernel")
            if sim.startswith("yes") and not any(simulated):
                self.faults.append(f"{row}: says that it is proven in the simulator, by no test that runs there")
        if rows != ROWS:
            self.faults.append(f"the rows are {rows}, not {ROWS}")
        return self.faults


def main():
    faults = Table(Path(sys.argv[1])).check()
    for fault in faults:
        print(f"docs/design/proofs.md: {fault}")
    sys.exit(1 if faults else 0)


main()
