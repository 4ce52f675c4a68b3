# SPDX-License-Identifier: BSL-1.0
"""Where io_uring_setup is refused (a seccomp filter answers EPERM, as container runtimes do) the same program runs on epoll and
says so; where it is asked for by name there, it says in one line why not."""
import os
import time

from harness import BACKEND, Sample, Skip, check, round_trip, run, run_sample


def denied(call):
    helper = os.environ.get("CHAINRING_DENY", "")
    if not os.access(helper, os.X_OK):
        raise Skip("no helper in CHAINRING_DENY")
    if os.spawnvp(os.P_WAIT, helper, [helper, call, "true"]) != 0:
        raise Skip("no seccomp filter can be installed here")
    return [helper, call]


def serves_on_epoll(call, **options):
    with Sample("echo", prefix=denied(call), threads=2, expect_backend="epoll", **options) as echo:
        check("(epoll, 2 workers)" in echo.ready_line, echo.ready_line)
        with echo.connect(timeout=5) as client:
            for _ in range(10):
                round_trip(client, b"x" * 10_000)
            before, began = echo.cpu_total(), time.monotonic()
            time.sleep(0.3)
            used = (echo.cpu_total() - before) / (time.monotonic() - began)
            check(used < 0.1, f"idle, it uses {used * 100:.0f} % of a processor")
            round_trip(client)


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
    serves_on_epoll("io_uring_setup", backend="auto")


def the_default_falls_back_to_epoll_where_io_uring_is_refused():
    serves_on_epoll("io_uring_setup", backend=None)


def epoll_by_name_runs_where_io_uring_is_refused():
    serves_on_epoll("io_uring_setup", backend="epoll")


def epoll_serves_where_the_kernel_has_no_epoll_pwait2():
    if BACKEND == "uring":
        raise Skip("a question about epoll")
    serves_on_epoll("epoll_pwait2", backend="epoll")


def io_uring_by_name_is_refused_in_one_line():
    for wish in ["--backend", "uring"], []:
        environment = {} if wish else {"CHAINRING_BACKEND": "uring"}
        code, out, told = run_sample("echo", "--port", "0", *wish, prefix=denied("io_uring_setup"),
                                     environment=environment)
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
    epoll_serves_where_the_kernel_has_no_epoll_pwait2,
    io_uring_by_name_is_refused_in_one_line)
