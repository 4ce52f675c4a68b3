# SPDX-License-Identifier: BSL-1.0
"""Which part of the library an instruction belongs to, by the file and the function that it is in."""

import os
import re

# The first that matches "FILE FUNCTION" wins; files are relative to the repository.
RULES = [
    ("coroutine bodies", r"^tests/bench/costs/costs\.cpp "),
    ("what stands in for the kernel", r"^tests/bench/costs/"),
    ("timers", r"^runtime/(src|include/chainring)/(timer_queue|renewals|time|deadline)\."),
    ("timers", r"^runtime/src/worker\S+ .*(renew|stamp_|ticks)"),
    ("backend", r"^runtime/src/(epoll/|uring/|backend|os_backend|operation|resource)"),
    ("receive buffers", r"^(runtime/src/buffer_pool|net/\S*chunk)"),
    ("frames", r"^runtime/\S*/frame\."),
    ("scheduler", r"^runtime/src/(worker|run_queue|steal_queue|inbox|injection|park_state|runtime|schedule|safepoint|wake_cost)"),
    ("scheduler", r"^runtime/include/chainring/schedule\."),
    ("tasks, scopes, claims", r"^runtime/"),
    ("sync", r"^sync/"),
    ("Link: receive", r"^net/src/link_(recv|unread)\."),
    ("Link: send", r"^net/(src/link_(send|forward)\.|\S*(payload|outbox|link_reports|posts))"),
    ("Link: receive", r"^net/\S+ .*(Recv|Read|recv|read|unread|Segment)"),
    ("Link: send", r"^net/\S+ .*(Send|send|flush|Gather|Outbox)"),
    ("Link: rest", r"^net/"),
]
COMPILED = [(part, re.compile(rule)) for part, rule in RULES]
FROM_LIBC = [
    ("libc: system calls", re.compile(r"^(send|recv|sendmsg|recvmsg|write|read|epoll_\w+|syscall|__\w*(send|recv|write)\w*)(@|$)")),
    ("libc: memory copied or set", re.compile(r"mem(cpy|move|set|chr|cmp)")),
    ("libc: mutexes", re.compile(r"pthread_mutex|__lll_")),
    ("libc: malloc", re.compile(r"malloc|free|calloc|operator (new|delete)|_int_|tcache|arena")),
]


def part_of(repository, object_name, own_file, line_file, function):
    def inside(file):
        return file.startswith(f"{repository}/")

    if not object_name.endswith("/bench_costs"):
        if "/liburing" in object_name:
            return "liburing"
        for part, rule in FROM_LIBC:
            if rule.search(function):
                return part
        return "libc, libstdc++: other"
    own_file, line_file = os.path.normpath(own_file), os.path.normpath(line_file)
    # What is inlined from the standard library counts as what uses it.
    file = line_file if inside(line_file) else own_file
    if not inside(file):
        return "C++ library, start-up code"
    text = f"{file[len(repository) + 1:]} {function}"
    return next((part for part, rule in COMPILED if rule.search(text)), "other")


def short(function):
    """A name to read: without the library's namespace, arguments and clones."""
    function = re.sub(r"chainring::(v\d+\w*::)?(detail::)?|\(anonymous namespace\)::", "", function)
    function = re.sub(r"\[clone [^]]*\]|'\d+$", "", function)
    return re.sub(r"\(.*$", "", function) or function
