# SPDX-License-Identifier: BSL-1.0
"""Where io_uring is refused (a seccomp filter answers EPERM, as container runtimes do) the same program runs on epoll and
says so; where it is asked for by name there, it says in one line why not."""
import os

from harness import BACKEND, Sample, Skip, check, round_trip, run, run_sample


def denied():
    helper = os.environ.get("CHAINRING_DENY_URING", "")
    if not os.access(helper, os.X_OK):
        raise Skip("no helper in CHAINRING_DENY_URING")
    if os.spawnvp(os.P_WAIT, helper, [helper, "true"]) != 0:
        raise Skip("no seccomp filter can be installed here")
    return [helper]


def serves(sample, **options):
    with Sample("echo", prefix=denied(), threads=2, **options) as echo, echo.connect() as client:
        check(sample in echo.ready_line, echo.ready_line)
        round_trip(client, b"x" * 100_000)


def auto_takes_the_backend_of_this_test_where_it_is_allowed():
    with Sample("echo", backend="auto", expect_backend=BACKEND, environment={"CHAINRING_BACKEND": BACKEND}) as echo:
        with echo.connect() as client:
            round_trip(client)


def auto_without_a_wish_prefers_io_uring():
    if BACKEND == "epoll":
        raise Skip("a question about io_uring")
    for wish in {"backend": "auto"}, {"backend": None}:
        with Sample("echo", expect_backend="uring", **wish):
            pass


def auto_falls_back_to_epoll_where_io_uring_is_refused():
    serves("(epoll, 2 workers)", backend="auto", expect_backend="epoll")


def the_default_falls_back_to_epoll_where_io_uring_is_refused():
    serves("(epoll, 2 workers)", backend=None, expect_backend="epoll")


def epoll_by_name_runs_where_io_uring_is_refused():
    serves("(epoll, 2 workers)", backend="epoll")


def io_uring_by_name_is_refused_in_one_line():
    for wish in ["--backend", "uring"], []:
        environment = {} if wish else {"CHAINRING_BACKEND": "uring"}
        code, out, told = run_sample("echo", "--port", "0", *wish, prefix=denied(), environment=environment)
        check(code == 1, f"{wish}: exit {code}, {told!r}")
        check(out == "", f"{wish}: on stdout: {out!r}")
        check(told.count("\n") == 1 and told.endswith("\n"), f"{wish}: not one line: {told!r}")
        check("uring" in told, f"{wish}: it does not say what: {told!r}")
        print(f"  {told}", end="")


run(auto_takes_the_backend_of_this_test_where_it_is_allowed,
    auto_without_a_wish_prefers_io_uring,
    auto_falls_back_to_epoll_where_io_uring_is_refused,
    the_default_falls_back_to_epoll_where_io_uring_is_refused,
    epoll_by_name_runs_where_io_uring_is_refused,
    io_uring_by_name_is_refused_in_one_line)
