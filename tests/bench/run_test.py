#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""run_test.py BUILD_DIR: ./run refuses a table when a server errs, and says so when the generator was the limit."""

import subprocess
import sys
import unittest
from argparse import Namespace
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from driver.measure import Campaign, Cell, CellResult  # noqa: E402
from driver.peer_tables import PeerTables  # noqa: E402
from driver.processes import Server  # noqa: E402
from driver.report import Row  # noqa: E402

SKIPPED = 77
BUILD_DIR = ""  # from the command line


def run(*arguments):
    command = [sys.executable, HERE / "run", "--smoke", "--build-dir", BUILD_DIR, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == SKIPPED:
        raise unittest.SkipTest(done.stdout.strip())
    return done


class Refusals(unittest.TestCase):
    def run_with(self, fault):
        return run("--server", f"{sys.executable} {HERE / 'broken_echo.py'} {fault} {{port}}")

    def refused(self, fault, why):
        done = self.run_with(fault)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertNotIn("|", done.stdout)
        self.assertRegex(done.stderr, why)
        self.assertIn("no table", done.stderr)

    def test_a_server_without_fault_gets_a_table(self):
        done = self.run_with("none")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| 8 | 1 | 64 B |", done.stdout)

    def test_a_changed_byte_in_the_measured_cell_is_found(self):
        self.refused("flips", "subject: .*DATA MISMATCH")

    def test_a_byte_too_many_in_the_measured_cell_is_found(self):
        self.refused("adds", "subject: .*DATA MISMATCH")

    def test_a_server_that_dies_in_a_run_is_found(self):
        self.refused("dies", "subject: the server ended with status 9")

    def test_a_server_that_does_not_start_is_found(self):
        self.refused("dies-at-once", "subject: the server ended with status 9")

    def test_a_closed_connection_is_an_error(self):
        self.refused("closes", "subject: .*closed by the server")

    def test_a_reset_connection_is_an_error(self):
        self.refused("resets", "subject: .*closed by the server")


class Peers(unittest.TestCase):
    def test_an_unknown_peer_is_a_bad_option(self):
        done = run("--peers", "libuv,nobody")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no such peer: nobody", done.stderr)

    def test_peers_are_measured_or_left_out_with_a_line_each(self):
        done = run("--peers", "asio,tokio", "--depths", "1,16", "--idle", "20")
        self.assertEqual(done.returncode, 0, done.stderr)
        for peer in ("asio", "tokio"):
            self.assertRegex(done.stdout, rf"(?m)^(\| {peer} \| 8 \| 16 \| 64 B \||- left out: {peer}: )")
        self.assertIn("| 8 | 16 | 64 B |", done.stdout)
        self.assertRegex(done.stdout, r"(?m)^\| yardstick \| -?[\d,]+ \| -?[\d,]+ \|")


class GeneratorLimit(unittest.TestCase):
    CELL = Cell(connections=8, size=64)
    LIMITED, FREE = {"load_util": 99.0, "server_util": 60.0}, {"load_util": 99.0, "server_util": 99.0}

    def result(self, **servers):
        rest = {"req_s": 1.0, "server_us_req": 1.0, "p50_us": 1.0, "p99_us": 1.0, "disturbed": False}
        return CellResult({name: [figures | rest] for name, figures in servers.items()})

    def test_it_is_told_of_a_cell(self):
        names = ["chainring", "yardstick", "yardstick2"]
        for subject, yardstick, note in ((self.FREE, self.FREE, ""), (self.LIMITED, self.FREE, "g"),
                                         (self.FREE, self.LIMITED, "g")):
            result = self.result(chainring=subject, yardstick=yardstick, yardstick2=self.FREE)
            self.assertEqual(Row(self.CELL, result, names).notes, note)

    def test_it_is_told_of_a_peer(self):
        result = self.result(chainring=self.FREE, yardstick=self.FREE, slow=self.FREE, fast=self.LIMITED)
        tables = PeerTables(["chainring", "yardstick", "slow", "fast"], "yardstick", {self.CELL: result}, {}, 0)
        text = tables.markdown()
        self.assertIn("| 1.00 (1.00–1.00) | 1.00 (1.00–1.00) g |", text)
        self.assertRegex(text, r"(?m)^\| fast \|.*\| g \|$")
        self.assertRegex(text, r"(?m)^\| slow \|.*\|  \|$")


class Pressure(unittest.TestCase):
    """On a machine where every run of some servers has so much CPU pressure, in percent."""

    def disturbed(self, pressure, threads, cpus):
        servers = [Server(name, [], 0, cpus, port=1, threads=threads if name == "subject" else 1)
                   for name in ("subject", "first", "last")]
        generator = Namespace(measure=lambda server, cell: {"req_s": 1.0, "pressure": pressure.get(server.name, 0.0)})
        options = Namespace(pairs=2, repeats=3, max_pressure=12.0, max_drift=20.0)
        campaign = Campaign(generator, servers, options, [Cell(connections=8, size=64)])
        (result,) = campaign.run().values()
        return {name for name, runs in result.runs.items() if any(run["disturbed"] for run in runs)}, campaign.repeated

    def test_it_disturbs_a_server_that_has_cpus_enough(self):
        for threads, cpus in ((1, [0]), (2, [0, 1]), (2, None)):
            self.assertEqual(self.disturbed({"subject": 50.0}, threads, cpus), ({"subject"}, 6))

    def test_it_does_not_disturb_a_server_whose_threads_take_turns(self):
        self.assertEqual(self.disturbed({"subject": 50.0}, 2, [0]), (set(), 0))

    def test_it_disturbs_the_others_of_that_campaign(self):
        self.assertEqual(self.disturbed({"subject": 50.0, "first": 50.0}, 2, [0]), ({"first"}, 6))


if __name__ == "__main__":
    BUILD_DIR = sys.argv.pop(1)
    program = unittest.main(exit=False, verbosity=2)
    if not program.result.wasSuccessful():
        sys.exit(1)
    # The tables need no io_uring; all that a run is needed for was skipped where there is none.
    sys.exit(SKIPPED if program.result.skipped else 0)
