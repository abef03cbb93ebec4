"""Distance between the lab's places: packets wait in the kernel until one process lets them go.

netem is missing from many kernels and needs more rights than a sandbox has, so delay is made of
three parts that are there:

1. nft marks each packet that leaves an access router with the microseconds it has to wait, looked
   up by the other end's prefix;
2. an NFQUEUE rule holds it (nft's own `queue` is missing from some kernels, the older target of
   iptables is not);
3. `delay_loop.py`, one process for the whole lab, is told number and mark of each packet and
   releases it when its time has come. The packet itself never leaves the kernel: 8 us of CPU each.

Without iptables or the kernel's part of it there is no delay, and `Delays.missing` says so: round
trips are then near zero, which hides how long things take and breaks ICMP errors on IPv6
(`deploy.lab.distance`). When the process dies, packets pass at once (`--queue-bypass`).
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.lab.distance import ROUND_TRIP_MIN_US, round_trips_us
from deploy.lab.namespace import search_path
from deploy.lab.network import Network
from deploy.lab.topology import FAMILIES, AutonomousSystem, Topology, interface_name

QUEUE: Final = 0
RESTORE_COMMANDS: Final = ("iptables-restore", "ip6tables-restore")
_QUEUE_PACKETS: Final = 20000  # a second of the most that the process keeps up with
_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_NFNL_SUBSYS_QUEUE, _NFQNL_MSG_CONFIG = 3, 2
_NFQA_CFG_CMD, _NFQA_CFG_PARAMS, _NFQA_CFG_QUEUE_MAXLEN, _NFQA_CFG_MASK, _NFQA_CFG_FLAGS = (
    1,
    2,
    3,
    4,
    5,
)
_BIND, _COPY_META = 1, 1
_FAIL_OPEN_AND_GSO: Final = 1 | 4  # a full queue lets pass; segments are not split for us
_RECEIVE_BUFFER: Final = 8 << 20  # the kernel grants what rmem_max allows
_LOOP: Final = str(Path(__file__).with_name("delay_loop.py"))
_RULES: Final = f"*mangle\n-A POSTROUTING -j NFQUEUE --queue-num {QUEUE} --queue-bypass\nCOMMIT\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """The delays in force. `missing` is None, or why there are none."""

    round_trips_us: Mapping[tuple[str, str], int]  # (access router, other country)
    missing: str | None

    def rtt_us(self, topology: Topology, vantage: str, machine: str) -> int:
        """The round trip that was asked for between a vantage and a machine; 0 without delays."""
        if self.missing is not None:
            return 0
        country = topology.machine(machine).country
        return self.round_trips_us[topology.access_of(vantage), country]


def start_delays(
    network: Network, *, seed: int, commands: tuple[str, ...] = RESTORE_COMMANDS
) -> Delays:
    """Give every access network its distances; they last as long as the network.

    Nothing is raised when the machine cannot do it: see `Delays.missing`.
    """
    round_trips = round_trips_us(network.topology, seed=seed)
    routers = network.topology.access_networks()
    missing = _hold_packets(network, routers, commands)
    if missing is None:
        for router in routers:
            network.nft(router, marking_commands(network.topology, router, round_trips))
        _start_loop(network, routers)
    return Delays(round_trips_us=round_trips, missing=missing)


def marking_commands(
    topology: Topology, router: str, round_trips: Mapping[tuple[str, str], int]
) -> str:
    """The nft commands that write each packet's wait onto it: half a round trip each way."""
    systems = [s for s in topology.systems.values() if s.asn != topology.machine(router).asn]
    neighbours = topology.neighbours[router]
    transits = set(topology.system_of(router).transits)
    inward = ", ".join(f'"{interface_name(n)}"' for n in neighbours if n not in transits)
    rules = [
        "add table inet distance",
        "add chain inet distance c { type filter hook postrouting priority -200; }",
        f"add rule inet distance c meta mark set {ROUND_TRIP_MIN_US // 2}",
    ]
    for family in FAMILIES:
        header = "ip" if family == 4 else "ip6"
        waits = _waits(systems, family, router, round_trips)
        for side, where in (("saddr", "oifname"), ("daddr", "oifname !=")):
            words = f"{where} {{ {inward} }} meta mark set {header} {side} map {{ {waits} }}"
            rules.append(f"add rule inet distance c {words}")
    return "\n".join(rules)


def _waits(
    systems: list[AutonomousSystem],
    family: int,
    router: str,
    round_trips: Mapping[tuple[str, str], int],
) -> str:
    return ", ".join(
        f"{prefix} : {round_trips[router, system.country] // 2}"
        for system in systems
        for prefix in system.announced(family)
    )


def _hold_packets(
    network: Network, routers: tuple[str, ...], commands: tuple[str, ...]
) -> str | None:
    """Put the NFQUEUE rule on every router; return why that cannot be done.

    The processes run side by side: each takes 20 ms, most of it waiting.
    """
    path = search_path(os.environ)
    absent = [command for command in commands if shutil.which(command, path=path) is None]
    if absent:
        return f"{absent[0]} is not installed (Debian package iptables)"
    running = [_restore(network, r, command) for r in routers for command in commands]
    complaints = [_finish(network, process) for process in running]
    return next((complaint for complaint in complaints if complaint is not None), None)


def _restore(network: Network, router: str, command: str) -> subprocess.Popen[str]:
    process = network.popen(
        router,
        [command, "--noflush"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(_RULES)
    process.stdin.close()
    process.stdin = None  # else communicate() would flush what is closed
    return process


def _finish(network: Network, process: subprocess.Popen[str]) -> str | None:
    _, complaint = process.communicate()
    network.end(process)
    if process.returncode == 0:
        return None
    return f"the kernel refuses NFQUEUE: {' '.join(complaint.split())}"


def _start_loop(network: Network, routers: tuple[str, ...]) -> None:
    """Hand the bound queues to a process of their own, and keep none.

    A descriptor left here would keep a queue bound after the process's death, and packets would
    wait in it for ever instead of passing.
    """
    queues = [_bound_queue(network, router) for router in routers]
    descriptors = [queue.fileno() for queue in queues]
    process = network.popen(
        routers[0],
        [sys.executable, "-I", _LOOP, str(QUEUE), *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=descriptors,
    )
    for queue in queues:
        queue.close()
    assert process.stdout is not None
    with process.stdout as said:
        said.readline()  # packets that came before it is ready would be late by its start


def _bound_queue(network: Network, router: str) -> socket.socket:
    queue = network.sock(router, socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    queue.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    queue.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
    queue.send(_config(_attribute(_NFQA_CFG_CMD, struct.pack("!BBH", _BIND, 0, 0))))
    queue.send(
        _config(
            _attribute(_NFQA_CFG_PARAMS, struct.pack("!IB", 0, _COPY_META))
            + _attribute(_NFQA_CFG_QUEUE_MAXLEN, struct.pack("!I", _QUEUE_PACKETS))
            + _attribute(_NFQA_CFG_FLAGS, struct.pack("!I", _FAIL_OPEN_AND_GSO))
            + _attribute(_NFQA_CFG_MASK, struct.pack("!I", _FAIL_OPEN_AND_GSO))
        )
    )
    return queue


def _config(attributes: bytes) -> bytes:
    kind = _NFNL_SUBSYS_QUEUE << 8 | _NFQNL_MSG_CONFIG
    header = struct.pack("=IHHII", 20 + len(attributes), kind, 1, 0, 0)
    return header + struct.pack("!BBH", 0, 0, QUEUE) + attributes


def _attribute(kind: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)
