# SPDX-License-Identifier: BSL-1.0
"""--connections raises the limit of open files as far as it goes, and tells what does not suffice; the server runs on."""
import re
import resource

from harness import Sample, check, round_trip, run


def limited(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limit_of(sample):
    with open(f"/proc/{sample.pid}/limits", encoding="ascii") as limits:
        soft, hard = re.search(r"Max open files +(\d+) +(\d+)", limits.read()).groups()
    return int(soft), int(hard)


def the_soft_limit_goes_up_to_what_is_wanted():
    # Other limits of this machine may be found wanting, too.
    with Sample("echo", "--connections", 500, preexec_fn=limited(64, 1000), stderr_allowed="somaxconn") as echo:
        check(limit_of(echo) == (564, 1000), f"limits {limit_of(echo)}")
        clients = [echo.connect() for _ in range(200)]
        for client in clients:
            round_trip(client)
        for client in clients:
            client.close()


def a_hard_limit_that_is_too_low_is_told_with_what_mends_it():
    allowed = "somaxconn|hard limit"
    with Sample("relay", "127.0.0.1:1", "--connections", 500, preexec_fn=limited(64, 1000), stderr_allowed=allowed) as relay:
        check(limit_of(relay) == (1000, 1000), f"limits {limit_of(relay)}")
        told = relay.complaints()
        check(re.search(r"^relay: .* at most 1000 files .* 1064 are wanted; to mend it: prlimit --nofile=1064:1064 ", told,
                        re.MULTILINE), f"told {told!r}")


def under_ulimit_256_it_is_told_at_once_and_nothing_hangs():
    with Sample("echo", "--connections", 1000, preexec_fn=limited(256, 256), stderr_allowed="somaxconn|hard limit") as echo:
        check(re.search(r"at most 256 files .* 1064 are wanted; to mend it:", echo.complaints()), f"told {echo.complaints()!r}")
        base = echo.fds()
        clients = [echo.connect() for _ in range(400)]
        for client in clients[:200]:
            round_trip(client)
        for client in clients[:200]:
            client.close()
        for client in clients[200:]:  # those who had to wait
            round_trip(client)
        for client in clients[200:]:
            client.close()
        echo.back_to(base, "after all have gone")


def without_the_flag_nothing_is_raised_and_nothing_told():
    with Sample("echo", preexec_fn=limited(64, 1000)) as echo:
        check(limit_of(echo) == (64, 1000), f"limits {limit_of(echo)}")


run(the_soft_limit_goes_up_to_what_is_wanted,
    a_hard_limit_that_is_too_low_is_told_with_what_mends_it,
    under_ulimit_256_it_is_told_at_once_and_nothing_hangs,
    without_the_flag_nothing_is_raised_and_nothing_told)
