# SPDX-License-Identifier: BSL-1.0
"""The servers and the clients of one run: starts them, tells the clients what to do, looks at both, ends them."""

import json
import subprocess
import tempfile
import time

import machine
from driver import processes

PATIENCE = 60  # seconds, for whatever is waited for
SETTLE = 0.3    # seconds, until the kernel has freed what it frees later


class Failed(Exception):
    pass


class Client:
    def __init__(self, program, backend, port):
        self._errors = tempfile.TemporaryFile()
        self._process = processes.spawn(
            [program, backend, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self.links = 0

    @property
    def pid(self):
        return self._process.pid

    def tell(self, *words):
        try:
            self._process.stdin.write(" ".join(map(str, words)) + "\n")
            self._process.stdin.flush()
        except OSError:
            self._fail()

    def answer(self):
        line = self._process.stdout.readline()
        if not line:
            self._fail()
        return json.loads(line)

    def _fail(self):
        self._process.wait()
        self._errors.seek(0)
        raise Failed(f"a client ended: {self._errors.read().decode(errors='replace').strip()}")

    def stop(self):
        processes.kill(self._process)
        self._errors.close()


class Fleet:
    """Use it as a context: however it is left, no process stays."""

    def __init__(self, programs, plan, backend, client_backend, server_options=()):
        self._plan = plan
        self.servers, self.clients = [], []
        command = [programs.echo, "--port", "{port}", "--backend", backend, "--connections", plan.most_per_server,
                   *server_options]
        if plan.servers > 1:
            command.append("--share-port")
        try:
            for _ in range(plan.servers):
                port = self.servers[0].port if self.servers else None
                server = processes.Server("echo", command, 0, None, ready_line="echo: listening", port=port)
                self.servers.append(server)
                server.start()
            for _ in range(plan.clients):
                self.clients.append(Client(programs.build_dir / "tests/bench/many_links/many_links_client",
                                           client_backend, self.servers[0].port))
        except BaseException:
            self.stop()
            raise
        self._files = self._server_files()
        self.connected = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for process in [*self.clients, *self.servers]:
            process.stop()

    def told_by_servers(self):
        """The lines of preflight(), each once."""
        lines = [line for server in self.servers for line in server.output().splitlines() if "to mend it" in line]
        return list(dict.fromkeys(lines))

    def _server_files(self):
        return sum(machine.open_files(server.pid) for server in self.servers)

    def ask(self, commands):
        """Tells each client its command, then waits for all answers."""
        for client, words in zip(self.clients, commands):
            client.tell(*words)
        return [client.answer() for client in self.clients]

    def connect_up_to(self, count, at_a_time):
        """Returns seconds until the last one was accepted, and the seconds of each thousand connects."""
        commands, first = [], self.connected
        for number, client in enumerate(self.clients):
            mine = count * (number + 1) // len(self.clients) - count * number // len(self.clients) - client.links
            commands.append(("connect", first, mine, self._plan.per_address, max(1, at_a_time // len(self.clients))))
            client.links += mine
            first += mine
        start = time.monotonic()
        answers = self.ask(commands)
        self.connected = count
        self.await_links(count)
        seconds = time.monotonic() - start
        times = sorted(moment / 1e9 for answer in answers for moment in answer["times"])[9::10]  # of each hundredth
        return seconds, [later - earlier for earlier, later in zip([start, *times], times)]

    def await_links(self, count):
        """Until the servers have accepted so many, and closed the others."""
        deadline = time.monotonic() + PATIENCE
        while (links := self._server_files() - self._files) != count:
            for server in self.servers:
                server.check_alive()
            if time.monotonic() > deadline:
                files = sorted(machine.open_files(server.pid) for server in self.servers)
                raise Failed(f"the servers have {links:,} connections instead of {count:,} after {PATIENCE} s; "
                             f"a server has {files[0]:,} to {files[-1]:,} open files")
            time.sleep(0.002)

    def exchange(self, first_of_each, size, in_flight):
        """A message on each Link from those on; so many in flight from each client."""
        self.ask([("exchange", first, size, in_flight) for first in first_of_each])

    def abort(self):
        self.ask([("abort",)] * len(self.clients))
        self.connected = 0
        for client in self.clients:
            client.links = 0

    def load(self, seconds, active_part, rate, size):
        """All clients at once. Rate 0: closed loop. Figures of the last four fifths of the time."""
        start = time.monotonic_ns() + 500_000_000
        active = [max(1, round(client.links * active_part)) for client in self.clients]
        for client, count in zip(self.clients, active):
            client.tell("load", start, seconds, count, rate * count / sum(active), size)
        usage = []
        for edge in (seconds / 5, seconds):
            time.sleep(max(0.0, start / 1e9 + edge - time.monotonic()))
            of_processes = map(self._cpu_seconds, (self.servers, self.clients))
            usage.append((time.monotonic(), machine.busy_seconds(), *of_processes))
        wall, busy, server, client = (late - early for early, late in zip(*usage))
        bins, requests = {}, 0
        for answer in [client.answer() for client in self.clients]:
            requests += answer["requests"]
            for number, count in answer["bins"].items():
                bins[int(number)] = bins.get(int(number), 0) + count
        return {
            "active": sum(active), "rate": requests / (seconds * 4 / 5),
            "p50": percentile(bins, 50), "p99": percentile(bins, 99),
            # Of one CPU; the last one is good to a few hundredths.
            "server_cpu": server / wall, "client_cpu": client / wall,
            "other_cpu": max(0.0, busy - server - client) / wall,
        }

    @staticmethod
    def _cpu_seconds(of):
        return sum(machine.cpu_seconds(process.pid) for process in of)

    def server_cpu_seconds(self):
        return self._cpu_seconds(self.servers)

    def snapshot(self):
        time.sleep(SETTLE)
        return machine.Snapshot.take(
            self.connected, [server.pid for server in self.servers], [client.pid for client in self.clients]
        )


def percentile(bins, percent):
    """The middle of its bin (client.cpp), in microseconds."""
    left = sum(bins.values()) * percent / 100
    for number in sorted(bins):
        left -= bins[number]
        if left <= 0:
            return (32.5 + number % 32) * 2.0 ** (number // 32 - 5) / 1000
    return 0.0
