# SPDX-License-Identifier: BSL-1.0
"""What this machine has and allows, and what of it is used now. Bytes, unless a name says otherwise."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
UNLIMITED = 1 << 62


def numbers(path):
    """The numbers of a file of /proc/sys; none where it cannot be read."""
    try:
        return [int(word) for word in Path(path).read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []


def first_number(path, otherwise):
    return (numbers(path) or [otherwise])[0]


def meminfo():
    fields = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0]) * 1024
    return fields


def tcp_buffers():
    """What the kernel counts as memory of TCP's buffers; part of it is in the slab, too."""
    for line in Path("/proc/net/sockstat").read_text(encoding="ascii").splitlines():
        if line.startswith("TCP:"):
            words = line.split()
            return int(words[words.index("mem") + 1]) * PAGE
    return 0


def await_steady_kernel():
    """Until the kernel has freed what it frees later, of the connections of an earlier run; 10 s at most."""
    last = meminfo()["Slab"]
    for _ in range(20):
        time.sleep(0.5)
        now = meminfo()["Slab"]
        if abs(now - last) < 1 << 20:
            return
        last = now


def user_memory(pid):
    """Pss of a process: what is mapped by several counts in parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def open_files(pid):
    folder = f"/proc/{pid}/fd"
    return os.stat(folder).st_size or len(os.listdir(folder))  # st_size: since Linux 6.2


def cpu_seconds(pid):
    """Of all threads of a process that live."""
    return sum(first_number(task / "schedstat", 0) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def busy_seconds():
    """Of all CPUs since the start, with interrupts, and with what the host took."""
    columns = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = columns
    return (user + nice + system + irq + softirq + steal) / TICKS


def _cgroup_room():
    """What the memory limits of this process' control groups leave (version 2 and version 1)."""
    room = UNLIMITED
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return room
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, limit, used = Path("/sys/fs/cgroup" + path), "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            folder, limit, used = Path("/sys/fs/cgroup/memory" + path), "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        for at in [folder, *folder.parents][:-3]:
            most = first_number(at / limit, UNLIMITED)
            if most < UNLIMITED:
                room = min(room, most - first_number(at / used, 0))
    return room


@dataclass(frozen=True)
class Limits:
    files_per_process: int  # the hard limit: chainring's preflight() raises the soft one
    files: int              # still to be opened, by all processes
    ports: int              # local ones, for connections to one address
    memory_total: int
    memory_available: int   # also as far as control groups let it
    tracked: int            # connections that the firewall's table still takes


def limits():
    low, high = (numbers("/proc/sys/net/ipv4/ip_local_port_range") + [32768, 60999])[:2]
    memory = meminfo()
    tracked = numbers("/proc/sys/net/netfilter/nf_conntrack_count")
    is_tracking = bool(tracked and tracked[0])
    return Limits(
        files_per_process=min(
            resource.getrlimit(resource.RLIMIT_NOFILE)[1] % (1 << 63), first_number("/proc/sys/fs/nr_open", UNLIMITED)
        ),
        files=first_number("/proc/sys/fs/file-max", UNLIMITED) - first_number("/proc/sys/fs/file-nr", 0),
        ports=high - low + 1,
        memory_total=memory["MemTotal"],
        memory_available=min(memory["MemAvailable"], _cgroup_room()),
        tracked=first_number("/proc/sys/net/netfilter/nf_conntrack_max", UNLIMITED) - tracked[0] if is_tracking
        else UNLIMITED,
    )


@dataclass(frozen=True)
class Snapshot:
    """Memory at some number of connections."""

    connections: int
    server: int     # Pss of the servers
    client: int     # Pss of the clients
    slab: int
    buffers: int    # tcp_buffers()
    other: int      # page tables, kernel stacks, per-CPU memory
    unused: int     # free, or a file's; not MemAvailable, which hopes to get part of the sockets back

    @property
    def kernel(self):
        return self.slab + self.buffers + self.other

    @staticmethod
    def take(connections, servers, clients):
        fields = meminfo()
        return Snapshot(
            connections,
            sum(map(user_memory, servers)),
            sum(map(user_memory, clients)),
            fields["Slab"],
            tcp_buffers(),
            sum(fields.get(name, 0) for name in ("PageTables", "SecPageTables", "KernelStack", "Percpu")),
            sum(fields[name] for name in ("MemFree", "Buffers", "Cached")),
        )
