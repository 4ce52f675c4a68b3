# SPDX-License-Identifier: BSL-1.0
"""chat with a guest who has stopped reading, whom nobody disconnects: the others get their lines as fast as without him."""
import time

from harness import KIB, MIB, Sample, check, not_under_sanitizers, reset, run

LINES, LINE, READERS = 3000, b"x" * 4000, 8


def enter(chat, those_inside, **options):
    """A guest, once those inside have heard of him."""
    guest = chat.connect(**options)
    for file in those_inside:
        check(file.readline().endswith(b"joined\n"), "a notice was expected")
    return guest


def lines_of(guest):
    return guest.makefile("rb", buffering=256 * KIB)


def passage(with_a_stopped_guest):
    """How long each line takes from its writer to all readers, in seconds, sorted; and the resident memory of chat."""
    with Sample("chat", "--outbox", str(64 * MIB), threads=2) as chat:
        before = chat.fds()
        writer = chat.connect()
        inside = [lines_of(writer)]
        while chat.fds() == before:
            time.sleep(0.001)
        time.sleep(0.3)  # it is accepted, but in the room only a moment later, which nobody is told
        guests = [enter(chat, inside, receive_buffer=4 * KIB)] if with_a_stopped_guest else []
        for _ in range(READERS):
            guests.append(enter(chat, inside))
            inside.append(lines_of(guests[-1]))
        took = []
        for number in range(LINES):
            mark = b"%d " % number
            began = time.monotonic()
            writer.sendall(mark + LINE + b"\n")
            for file in inside[1:]:
                line = file.readline()
                while line.startswith(b"* "):  # who enters during a broadcast may get it, too: the notice of the one before
                    line = file.readline()
                check(line.endswith(mark + LINE + b"\n"), f"line {number} was expected, not {line[:60]!r}")
            took.append(time.monotonic() - began)
        resident = chat.rss()
        for file in inside:
            file.close()
        for guest in [writer, *guests]:
            reset(guest)
    return sorted(took), resident


def a_stopped_receiver_costs_the_others_nothing():
    not_under_sanitizers("time and memory are measured")
    for _ in range(10):  # other programs on this machine are seen in a 99th percentile, too
        (without, less), (beside, more) = passage(False), passage(True)
        middle, late = LINES // 2, LINES * 99 // 100
        print(f"  p50 {without[middle] * 1e6:.0f} us without him, {beside[middle] * 1e6:.0f} us beside him; "
              f"p99 {without[late] * 1e6:.0f} us, {beside[late] * 1e6:.0f} us; "
              f"resident {less / MIB:.1f} MiB, {more / MIB:.1f} MiB")
        if beside[late] < 2 * without[late] + 1e-3:
            break
    else:
        check(False, "the 99th percentile is more than twice as high, ten times")
    check(more - less < 2 * LINES * len(LINE) + 8 * MIB, "he holds more than the lines that wait for him")


run(a_stopped_receiver_costs_the_others_nothing)
