# SPDX-License-Identifier: BSL-1.0
"""How many connections this machine bears, over how many processes; or what has to be raised first."""

import math
from dataclasses import dataclass

KERNEL = 11 << 10      # both ends of an idle connection on Linux 6.18: 7.5 to 9 KiB measured
USER = 3 << 10         # both ends, with those that are active now
PROCESS = 16 << 20     # of each server and client: rings, receive buffers, and their share of what is mapped
OTHER_FILES = 64       # of each process: rings, listeners, pipes
UNEVEN = 1.15          # see fullest()
FREE_PART = 0.2        # of the memory stays free: one of the thresholds


class Refused(Exception):
    pass


@dataclass(frozen=True)
class Plan:
    connections: int
    servers: int
    clients: int
    per_address: int   # connections from one address to one other
    reasons: tuple     # why there are fewer than wanted

    @property
    def most_per_server(self):
        return fullest(self.connections, self.servers)


def fullest(connections, servers):
    """What the fullest of the servers gets: the kernel deals by a hash, and 8 % more than an even part were seen."""
    even = math.ceil(connections / servers)
    return even if servers == 1 else math.ceil(even * UNEVEN)


def _split(connections, per_process):
    servers = max(1, math.ceil(connections / per_process))
    while fullest(connections, servers) > per_process:
        servers += 1
    return servers


def make(wanted, limits, options):
    """Raises Refused when not even options.minimum connections are possible."""
    per_process = min(limits.files_per_process - OTHER_FILES, options.per_process or limits.files_per_process)
    if per_process < 1:
        raise Refused(f"{limits.files_per_process} open files for a process are too few; raise RLIMIT_NOFILE (ulimit -Hn)")
    # Below a half: the kernel tries every second port first, all of them, before it takes one of the others.
    per_address = limits.ports * 2 // 5
    if per_address < 1000:
        raise Refused(f"{limits.ports} local ports are too few; sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"")

    room = limits.memory_available - FREE_PART * limits.memory_total
    each = KERNEL + USER + 2 * PROCESS / per_process
    bounds = [
        (int((room - 2 * options.processes * PROCESS) / each),
         f"memory: {limits.memory_available / 1e9:.1f} GB are available, a fifth of all {limits.memory_total / 1e9:.1f} GB "
         f"is to stay free, a connection takes up to {each / 1024:.1f} KiB at both ends; more memory"),
        (limits.files * 19 // 20 // 2,
         f"open files: {limits.files:,} are left for all processes, a connection takes two; "
         f"sysctl -w fs.file-max={wanted * 3}"),
        (limits.tracked,
         f"the firewall tracks connections, and has room for {limits.tracked:,}; "
         f"sysctl -w net.netfilter.nf_conntrack_max={wanted * 2}"),
        (254 * 254 * 254 * per_address, "addresses; nothing can be done about it"),
    ]
    connections = max(0, min([wanted] + [most for most, _ in bounds]))
    reasons = tuple(f"{most:,} connections by {why}" for most, why in bounds if most < wanted)
    if connections < min(wanted, options.minimum):
        raise Refused(f"{min(wanted, options.minimum):,} connections are the least; " + "; ".join(reasons))
    servers = max(options.processes, _split(connections, per_process))
    clients = max(options.processes, math.ceil(connections / (limits.files_per_process - OTHER_FILES)))
    return Plan(connections, servers, clients, per_address, reasons)
