# SPDX-License-Identifier: BSL-1.0
"""chat with people and with nuisances: notices, lines to all others in order, who does not read is disconnected, and
garbage harms only its sender."""
import os
import socket
import time

from harness import KIB, MIB, Background, Sample, check, not_under_sanitizers, receive_all, run, until


class Guest:
    def __init__(self, client):
        self.socket = client
        self.lines = client.makefile("rb")

    def says(self, line):
        self.socket.sendall(line + b"\n")

    def hears(self, *expected):
        for line in expected:
            heard = self.lines.readline().rstrip(b"\n")
            check(heard == line, f"{line!r} was expected, {heard[:200]!r} came")

    def leaves(self):
        self.lines.close()
        self.socket.close()


class Room:
    """A running chat, with guests 1 to `count`, who have heard of each other. At the end they leave, then chat stops."""

    def __init__(self, count, *arguments, **options):
        self.chat = Sample("chat", *arguments, **{"threads": 2, **options})
        self.guests = []
        try:
            for number in range(1, count + 1):
                before = self.chat.fds()
                self.enters()
                if number == 1:  # nobody hears of the first one
                    until(lambda: self.chat.fds() > before, "the first guest is in")
                for other in self.guests[:-1]:
                    other.hears(b"* guest-%d joined" % number)
        except BaseException:
            self.chat.kill()
            raise

    def enters(self, **options):
        self.guests.append(Guest(self.chat.connect(**options)))
        return self.guests[-1]

    def __enter__(self):
        self.chat.__enter__()
        return self.chat, self, self.guests[:]

    def __exit__(self, *raised):
        for guest in self.guests:
            guest.leaves()
        self.chat.__exit__(*raised)


def all_others_get_each_line_in_order():
    with Room(3) as (_, _, (one, two, three)):
        one.says(b"hello")
        two.hears(b"guest-1: hello")
        three.hears(b"guest-1: hello")
        for number in range(500):
            two.says(b"line %d" % number)
        for guest in one, three:
            guest.hears(*[b"guest-2: line %d" % number for number in range(500)])
        one.says(b"with a carriage return\r")
        two.hears(b"guest-1: with a carriage return")
        one.says(b"")
        two.hears(b"guest-1: ")
        three.leaves()
        one.hears(b"* guest-3 left")
        two.hears(b"* guest-3 left")
        two.socket.shutdown(socket.SHUT_WR)
        one.hears(b"* guest-2 left")


def who_does_not_read_is_disconnected_and_slows_nobody():
    not_under_sanitizers("memory and time are measured")
    with Room(2, "--outbox", str(256 * KIB)) as (chat, room, (writer, reader)):
        slow = room.enters(receive_buffer=4 * KIB)
        writer.hears(b"* guest-3 joined")
        reader.hears(b"* guest-3 joined")
        base, line, sent, slowest, gone = chat.rss(), b"x" * 4000, 0, 0.0, False
        while not gone:
            check(sent < 64 * MIB, f"still there after {sent / MIB:.0f} MiB")
            began = time.monotonic()
            writer.says(line)
            sent += len(line)
            while (heard := reader.lines.readline()) != b"guest-1: " + line + b"\n":
                check(heard == b"* guest-3 left\n", f"{heard[:100]!r}")
                gone = True
            slowest = max(slowest, time.monotonic() - began)
        grown = chat.rss() - base
        print(f"  gone after {sent / MIB:.1f} MiB; slowest line to the other {slowest * 1e3:.1f} ms; "
              f"grew by {grown / MIB:.1f} MiB")
        check(slowest < 0.25, f"the other one waited {slowest * 1e3:.0f} ms for a line")
        check(grown < 24 * MIB, f"grew by {grown / MIB:.1f} MiB")
        writer.hears(b"* guest-3 left")
        try:
            check(len(receive_all(slow.socket)) < sent, "it got all of it")
        except ConnectionResetError:
            pass
        slow.leaves()
        writer.says(b"still here")
        reader.hears(b"guest-1: still here")


def a_line_without_end_disconnects_its_sender_only():
    with Room(2) as (chat, room, (one, two)):
        base = chat.rss()
        nuisance = room.enters()
        for guest in one, two:
            guest.hears(b"* guest-3 joined")
        sender = Background(flood, nuisance.socket)
        for guest in one, two:
            guest.hears(b"* guest-3 sent a line that is too long", b"* guest-3 left")
        check(chat.rss() - base < 16 * MIB or os.environ.get("CHAINRING_SANITIZE"), "memory")
        one.says(b"hello")
        two.hears(b"guest-1: hello")
        sender.result()
        nuisance.leaves()


def flood(client, mebibytes=64):
    try:
        for _ in range(mebibytes):
            client.sendall(b"x" * MIB)
    except (ConnectionError, TimeoutError):
        pass


def a_line_of_just_the_greatest_length_passes():
    with Room(2, threads=1) as (_, _, (one, two)):
        one.says(b"x" * 4000)
        two.hears(b"guest-1: " + b"x" * 4000)


def nuls_and_garbage_pass_as_bytes():
    garbage = bytes(byte for byte in range(256) if byte not in b"\n\r")
    with Room(2) as (_, _, (one, two)):
        for line in b"\0", b"\0" * 1000, b"a\0b", garbage, b"\xff\xfe\x80", b"%s%n%x", b"\x1b[2J":
            one.says(line)
            two.hears(b"guest-1: " + line)
        for _ in range(50):
            block = os.urandom(2000).replace(b"\n", b"").replace(b"\r", b"")
            one.says(block)
            two.hears(b"guest-1: " + block)


def many_come_and_go():
    with Room(2) as (chat, room, (one, two)):
        base = chat.fds()
        counted = Background(lambda: [one.lines.readline() for _ in range(600)])
        for _ in range(10):
            guests = [room.enters() for _ in range(30)]
            for guest in guests:
                guest.leaves()
        heard = counted.result()
        check(sum(line.endswith(b"joined\n") for line in heard) == 300, "notices of who joined are missing")
        check(sum(line.endswith(b"left\n") for line in heard) == 300, "notices of who left are missing")
        chat.back_to(base, "after 300 guests")
        one.says(b"still here")
        for line in two.lines:
            if line == b"guest-1: still here\n":
                break


def what_was_said_before_the_stop_arrives():
    def listen(guest):
        heard = guest.lines.read()
        guest.leaves()
        return heard
    with Room(3) as (chat, _, guests):
        guests[0].says(b"last words")
        for guest in guests[1:]:
            guest.hears(b"guest-1: last words")
        ends = [Background(listen, guest) for guest in guests]
        took = chat.stop()
        for end in ends:
            end.result()
        check(took < 1, f"{took:.2f} s, though all guests leave when they see the end")


def who_is_sent_away_while_not_reading_does_not_stay():
    """A guest with lines waiting for it, below the limit of the outbox, sends nonsense: it is sent away, and cannot keep its
    connection by never reading what waits."""
    with Room(2, "--outbox", str(64 * MIB)) as (chat, room, (writer, reader)):
        base = chat.fds()
        slow = room.enters(receive_buffer=4 * KIB)
        for guest in writer, reader:
            guest.hears(b"* guest-3 joined")
        for _ in range(2000):  # 8 MB: more than the kernel takes
            writer.says(b"x" * 4000)
            reader.hears(b"guest-1: " + b"x" * 4000)
        flood(slow.socket, 1)
        reader.hears(b"* guest-3 sent a line that is too long", b"* guest-3 left")
        until(lambda: chat.fds() <= base, "the connection of who does not read is still there", 25)


run(all_others_get_each_line_in_order,
    who_does_not_read_is_disconnected_and_slows_nobody,
    a_line_without_end_disconnects_its_sender_only,
    a_line_of_just_the_greatest_length_passes,
    nuls_and_garbage_pass_as_bytes,
    many_come_and_go,
    what_was_said_before_the_stop_arrives,
    who_is_sent_away_while_not_reading_does_not_stay)
