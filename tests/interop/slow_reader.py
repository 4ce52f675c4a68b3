# SPDX-License-Identifier: BSL-1.0
"""Readers that are slow (pv -L): large sends arrive whole and in the order of the calls, and a relay from a writer without end
to such a reader stays small."""
import contextlib
import hashlib
import subprocess
import time

from harness import KIB, MIB, Sample, check, free_port, not_under_sanitizers, run, tcp_sockets, tool, until

UNITS, SIZE = 2, 8 * MIB


def unit(number):
    """What link_ends sends as its unit of that number: each 16 bytes say where they belong."""
    return b"".join(b"%02x:%012x\n" % (number, at) for at in range(0, SIZE, 16))


@contextlib.contextmanager
def slowly(command, rate, **options):
    """`command` into pv at so many bytes a second; yields pv's end of it."""
    slowly_on = [tool("pv"), "-q", "-L", str(rate)]  # skips before anything runs
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as source:
        with subprocess.Popen(slowly_on, stdin=source.stdout, **options) as slow:
            source.stdout.close()
            try:
                yield slow
            finally:
                for process in source, slow:
                    process.kill()


def two_sends_of_8_MiB_reach_a_slow_reader_whole_and_in_order():
    expected = hashlib.sha256(b"".join(unit(number) for number in range(UNITS))).hexdigest()
    with Sample("link_ends", "units", UNITS, SIZE, threads=2) as server:
        base = server.fds()
        began = time.monotonic()
        with slowly([tool("nc"), "-d", "127.0.0.1", str(server.port)], 6 * MIB, stdout=subprocess.PIPE) as reader:
            digest, size = hashlib.sha256(), 0
            while piece := reader.stdout.read1(MIB):
                digest.update(piece)
                size += len(piece)
        took = time.monotonic() - began
        print(f"  {size / MIB:.0f} MiB in {took:.1f} s")
        check(size == UNITS * SIZE, f"{size} bytes")
        check(digest.hexdigest() == expected, "other bytes, or in another order")
        check(took > 1.5, f"{took:.1f} s: the reader was not slow")
        server.back_to(base, "after the reader")


def a_relay_from_a_fast_writer_to_a_slow_reader_stays_small():
    not_under_sanitizers("memory is counted")
    port = free_port()
    with slowly([tool("nc"), "-l", "127.0.0.1", str(port)], MIB, stdout=subprocess.DEVNULL) as reader:
        until(lambda: any(entry[0] == port and entry[2] == "LISTEN" for entry in tcp_sockets()), "nc listens")
        with Sample("relay", f"127.0.0.1:{port}", "--grace", "1") as relay, open("/dev/zero", "rb") as zeros:
            with subprocess.Popen([tool("nc"), "127.0.0.1", str(relay.port)], stdin=zeros) as writer:
                try:
                    until(lambda: relay.sockets("ESTABLISHED"), "the writer is there")
                    largest, used, end = 0, relay.cpu_total(), time.monotonic() + 4
                    while time.monotonic() < end:
                        largest = max(largest, relay.rss())
                        time.sleep(0.02)
                    used = relay.cpu_total() - used
                    check(reader.poll() is None and writer.poll() is None, "the reader or the writer has ended")
                finally:
                    writer.kill()
            print(f"  {largest / MIB:.1f} MiB resident at most, {used / 4 * 100:.1f} % of a processor")
            check(largest < 64 * MIB, f"{largest / KIB:.0f} KiB resident")
            check(used < 2, f"{used:.2f} s of a processor in 4 s")


run(two_sends_of_8_MiB_reach_a_slow_reader_whole_and_in_order,
    a_relay_from_a_fast_writer_to_a_slow_reader_stays_small)
