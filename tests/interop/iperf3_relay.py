# SPDX-License-Identifier: BSL-1.0
"""iperf3 through relay: its control connection and all its streams, both directions at once; and at a limited rate."""
import contextlib
import json
import subprocess

from harness import Sample, check, free_port, run, tcp_sockets, tool, until


@contextlib.contextmanager
def iperf3_server():
    """Yields its port; it serves one test."""
    iperf3, port = tool("iperf3"), free_port()
    server = subprocess.Popen([iperf3, "-s", "-1", "-B", "127.0.0.1", "-p", str(port)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL)
    try:
        until(lambda: any(entry[0] == port and entry[2] == "LISTEN" for entry in tcp_sockets()), "iperf3 -s listens")
        yield port
        check(server.wait(10) == 0, f"iperf3 -s exits with {server.returncode}")
    finally:
        server.kill()
        server.wait()


def measure(port, *options):
    client = subprocess.run([tool("iperf3"), "-c", "127.0.0.1", "-p", str(port), "-J", *options], capture_output=True,
                            text=True, timeout=40, check=False)
    check(client.returncode == 0, f"iperf3 exits with {client.returncode}: {client.stdout[-500:]}{client.stderr}")
    return json.loads(client.stdout)["end"]


def iperf3_measures_both_directions_at_once_through_relay():
    with iperf3_server() as port, Sample("relay", f"127.0.0.1:{port}", threads=2) as relay:
        base = relay.fds()
        end = measure(relay.port, "--bidir", "-P", "2", "-t", "3")
        for way in "sum_sent", "sum_received", "sum_sent_bidir_reverse", "sum_received_bidir_reverse":
            print(f"  {way}: {end[way]['bits_per_second'] / 1e9:.2f} Gbit/s")
            check(end[way]["bytes"] > 1_000_000, f"{way}: {end[way]['bytes']} bytes")
        relay.back_to(base, "after iperf3")


def at_a_limited_rate(*options, threads=1):
    # The limit holds in every run; that it is reached may take a second one, where others use the CPUs.
    for runs_left in 2, 1, 0:
        with iperf3_server() as port, Sample("relay", "--rate", "10000", f"127.0.0.1:{port}", threads=threads) as relay:
            # Small windows: what the client believes to have sent must go through before it ends.
            end = measure(relay.port, "-t", "5", "-O", "1", "-w", "64K", *options)
        rate = end["sum_received"]["bits_per_second"] / 1e6
        print(f"  {rate:.3f} Mbit/s")
        check(rate <= 10.5, f"{rate:.3f} Mbit/s, above 10 by more than 5 %")
        if rate >= 9.5:
            return
        check(runs_left > 0, f"{rate:.3f} Mbit/s, below 10 by more than 5 %")


def relay_at_10_megabit_passes_on_10_megabit():
    at_a_limited_rate()


def four_streams_together_back_to_the_client_get_10_megabit():
    at_a_limited_rate("-R", "-P", "4", threads=2)


run(iperf3_measures_both_directions_at_once_through_relay,
    relay_at_10_megabit_passes_on_10_megabit,
    four_streams_together_back_to_the_client_get_10_megabit)
