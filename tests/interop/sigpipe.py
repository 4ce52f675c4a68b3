# SPDX-License-Identifier: BSL-1.0
"""Writing to clients that are gone never kills a server with SIGPIPE, though it leaves the signal as it was."""
import os
import select
import signal

from harness import Sample, check, reset, round_trip, run, until


def leaves_sigpipe_alone(sample):
    with open(f"/proc/{sample.pid}/status", encoding="ascii") as status:
        masks = dict(line.split(":\t") for line in status if line.startswith("Sig"))
    bit = 1 << (signal.SIGPIPE - 1)
    for name in "SigIgn", "SigCgt", "SigBlk":
        check(not int(masks[name], 16) & bit, f"{name}: SIGPIPE is ignored, caught or blocked: the test shows nothing")


def push_and_go(sample):
    block = os.urandom(256 * 1024)
    for turn in range(60):
        client = sample.connect()
        client.setblocking(False)
        for _ in range(4):
            try:
                client.send(block)
            except BlockingIOError:
                break
        if turn % 3 == 0:
            reset(client)
        else:
            client.close()  # with unread bytes: also a reset; without: the server's next write gets one


def echo_outlives_clients_that_do_not_wait_for_their_echo():
    for listen in "127.0.0.1:0", f"unix:@chainring-sigpipe-{os.getpid()}":
        with Sample("echo", listen=listen) as echo:
            leaves_sigpipe_alone(echo)
            push_and_go(echo)
            with echo.connect() as client:
                round_trip(client)


def reach(speaker, member):
    """Talks until the member, who may not have joined yet, has got something of it."""
    def is_reached():
        speaker.sendall(b"hello\n")
        return select.select([member], [], [], 0.02)[0]
    until(is_reached, "a member gets a line")


def chat_outlives_members_that_vanish_while_it_talks_to_them():
    with Sample("chat", threads=2) as chat:
        leaves_sigpipe_alone(chat)
        with chat.connect() as speaker:
            for _ in range(30):
                members = [chat.connect() for _ in range(3)]
                for member in members:
                    reach(speaker, member)
                for member in members:
                    reset(member)
                speaker.sendall(b"still there?\n" * 20)
        with chat.connect() as client, chat.connect() as other:
            reach(client, other)


run(echo_outlives_clients_that_do_not_wait_for_their_echo,
    chat_outlives_members_that_vanish_while_it_talks_to_them)
