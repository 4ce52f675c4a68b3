# SPDX-License-Identifier: BSL-1.0
"""iperf3 through relay: its control connection and all its streams, both directions at once."""
import json
import subprocess

from harness import Sample, check, free_port, run, tcp_sockets, tool, until


def iperf3_measures_both_directions_at_once_through_relay():
    iperf3, port = tool("iperf3"), free_port()
    server = subprocess.Popen([iperf3, "-s", "-1", "-B", "127.0.0.1", "-p", str(port)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL)
    try:
        until(lambda: any(entry[0] == port and entry[2] == "LISTEN" for entry in tcp_sockets()), "iperf3 -s listens")
        with Sample("relay", f"127.0.0.1:{port}", threads=2) as relay:
            base = relay.fds()
            client = subprocess.run([iperf3, "-c", "127.0.0.1", "-p", str(relay.port), "--bidir", "-P", "2", "-t", "3", "-J"],
                                    capture_output=True, text=True, timeout=40, check=False)
            check(client.returncode == 0, f"iperf3 exits with {client.returncode}: {client.stdout[-500:]}{client.stderr}")
            end = json.loads(client.stdout)["end"]
            for way in "sum_sent", "sum_received", "sum_sent_bidir_reverse", "sum_received_bidir_reverse":
                print(f"  {way}: {end[way]['bits_per_second'] / 1e9:.2f} Gbit/s")
                check(end[way]["bytes"] > 1_000_000, f"{way}: {end[way]['bytes']} bytes")
            relay.back_to(base, "after iperf3")
        check(server.wait(10) == 0, f"iperf3 -s exits with {server.returncode}")
    finally:
        server.kill()
        server.wait()


run(iperf3_measures_both_directions_at_once_through_relay)
