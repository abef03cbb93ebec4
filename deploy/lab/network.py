"""The lab's internet, running: one namespace per machine, real links, real routes.

    with Network(internet()) as network:
        network.run("v01", ["ping", "-c1", network.topology.address("x-live")])

Only works inside the sandbox (`namespace.enter_sandbox`). A network is cheap (a tenth of a second
for eighty machines), so each scenario builds a fresh one: path-MTU caches, half-open connections
and restored-but-not-quite settings of one scenario must not leak into the next.

Links between routers and toward vantages have permanent neighbours, because the kernel's table of
learnt ones is shared by the whole machine. Links toward servers learn theirs as real ones do, so
that a server that is gone is found out the way it is in life.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from deploy.lab import netlink
from deploy.lab.namespace import (
    SandboxError,
    in_namespace,
    is_inside,
    new_namespace,
    open_socket,
    search_path,
)
from deploy.lab.nft import Nft
from deploy.lab.oracle import Disturbance, Oracle
from deploy.lab.routing import Links, Route, routes
from deploy.lab.topology import FAMILIES, ROUTERS, Link, Machine, Part, Topology, interface_name

_LEARNING_PARTS: Final = frozenset(Part) - ROUTERS - {Part.VANTAGE}
_LOOPBACK_INDEX: Final = 1

_EVERYWHERE: Final[Mapping[str, int | str]] = {
    "ipv6/conf/default/accept_dad": 0,  # else an address is unusable for its first second
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/router_solicitations": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/rp_filter": 0,
}
# A router that counts its own errors shows "loss" where there is none: 65 % in mtr by default.
_UNLIMITED_ERRORS: Final[Mapping[str, int | str]] = {
    "ipv4/icmp_ratelimit": 0,
    "ipv4/icmp_msgs_per_sec": 100000,
    "ipv6/icmp/ratelimit": 0,
}
_ON_ROUTERS: Final[Mapping[str, int | str]] = {
    **_UNLIMITED_ERRORS,
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
}
# Group 0 is the only one that exists in the sandbox; a wider range is refused with EIO.
_ON_ENDS: Final[Mapping[str, int | str]] = {
    **_UNLIMITED_ERRORS,
    "ipv4/ping_group_range": "0 0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a program said and how it ended; `exit_code` None = it outran its time and was killed."""

    exit_code: int | None
    output: str
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Interface:
    index: int
    mac: bytes
    far_mac: bytes


class Network:
    """A topology brought to life. Use it as a context manager, or `up` and `down`."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.links = Links()
        self.disturbances: list[Disturbance] = []  # of the faults in force, for the oracle
        self._namespaces: dict[str, int] = {}
        self._interfaces: dict[tuple[str, str], _Interface] = {}
        self._installed: dict[str, frozenset[Route]] = {}
        self._rules: dict[str, Nft] = {}
        self._started: list[subprocess.Popen[Any]] = []
        self._rule_numbers = itertools.count(1)

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def up(self) -> Self:
        """Make the namespaces, links, addresses and routes. `SandboxError` outside the sandbox."""
        if not is_inside(os.environ):
            message = "the lab builds its network in a sandbox only: call enter_sandbox() first"
            raise SandboxError(message)
        for machine in self.topology.machines.values():
            self._namespaces[machine.name] = namespace = new_namespace()
            _write_settings(namespace, _settings(machine))
        self._connect()
        tables = routes(self.topology)
        for name in self.topology.machines:
            self._installed[name] = frozenset(tables[name])
            self.configure(name, [*self._own_messages(name), *self._route_messages(name)])
        return self

    def down(self) -> None:
        """End every process started here and let the namespaces go."""
        for process in self._started:
            _end(process)
        self._started.clear()
        for rules in self._rules.values():
            rules.close()
        self._rules.clear()
        for namespace in self._namespaces.values():
            os.close(namespace)
        self._namespaces.clear()

    def oracle(self) -> Oracle:
        """Who reaches whom by the model, under all network faults in force now."""
        return Oracle(
            self.topology, functools.reduce(Disturbance.joined, self.disturbances, Disturbance())
        )

    # -- places and programs

    def namespace(self, machine: str) -> int:
        """The descriptor that holds a machine's namespace; valid until `down`."""
        self.topology.machine(machine)
        return self._namespaces[machine]

    def sock(self, machine: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives on a machine; usable from any thread and loop afterwards."""
        return open_socket(self.namespace(machine), family, kind, protocol)

    def popen(self, machine: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program on a machine, in a session of its own; `down` ends it if nobody did."""
        options.setdefault("start_new_session", True)
        options["env"] = _with_search_path(options.get("env") or os.environ)
        with in_namespace(self.namespace(machine)):  # a child is born where its parent thread is
            process = subprocess.Popen(list(argv), **options)
        self._started.append(process)
        return process

    def run(self, machine: str, argv: Sequence[str], *, timeout_s: float = 30.0) -> Ran:
        """Run a program on a machine to its end; both its outputs together, as text."""
        started = time.monotonic()
        process = self.popen(
            machine,
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout_s)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            _end(process)
            output, code = process.communicate()[0], None  # also what came before the limit
        self.end(process)
        return Ran(exit_code=code, output=output, elapsed_s=time.monotonic() - started)

    def end(self, process: subprocess.Popen[Any]) -> None:
        """Kill a program started here, with everything in its session, and collect it."""
        _end(process)
        if process in self._started:
            self._started.remove(process)

    # -- settings

    def sysctl(self, machine: str, key: str, value: float | str) -> str:
        """Write a setting below /proc/sys/net ("ipv4/tcp_syncookies"); return what it was."""
        with in_namespace(self.namespace(machine)):
            before = Path(f"/proc/sys/net/{key}").read_text().strip()
        _write_settings(self.namespace(machine), {key: value})
        return before

    def nft(self, machine: str, commands: str) -> str:
        """Run nft commands on a machine; `NftError` with nft's words when they are refused."""
        if machine not in self._rules:
            self._rules[machine] = Nft(self.namespace(machine))
        return self._rules[machine].run(commands)

    def next_table(self, purpose: str) -> str:
        """A name that no table of this network has yet."""
        return f"{purpose}_{next(self._rule_numbers)}"

    def configure(self, machine: str, messages: Sequence[netlink.Message]) -> None:
        """Send rtnetlink messages to the kernel on a machine."""
        netlink.write(self.namespace(machine), messages)

    def interface(self, machine: str, neighbour: str) -> str:
        """The name of a machine's interface toward a neighbour."""
        self.topology.link(machine, neighbour)
        return interface_name(neighbour)

    # -- links and routes that change

    def set_link(self, machine: str, neighbour: str, *, up: bool) -> None:
        """Switch the machine's own end of a link off, or on again with all that it had.

        Switching off makes the kernel forget the end's IPv6 addresses, its permanent neighbours and
        its routes; the far end merely loses the carrier. Routes everywhere follow at once.
        """
        self.topology.link(machine, neighbour)
        interface = self._interfaces[machine, neighbour]
        self.configure(machine, [netlink.set_link(interface.index, up=up)])
        if up:
            self.configure(machine, self._end_messages(machine, neighbour))
        kept = {route for route in self._installed[machine] if route.via != neighbour}
        self._installed[machine] = frozenset(kept)
        pair = frozenset((machine, neighbour))
        changed = self.links.down - {pair} if up else self.links.down | {pair}
        self.reroute(replace(self.links, down=changed))

    def withdraw(self, systems: frozenset[int]) -> None:
        """Make every transit forget the prefixes of these networks, as after a BGP withdrawal."""
        self.reroute(replace(self.links, withdrawn=self.links.withdrawn | systems))

    def announce(self, systems: frozenset[int]) -> None:
        """Take a withdrawal back."""
        self.reroute(replace(self.links, withdrawn=self.links.withdrawn - systems))

    def detour(self, detours: frozenset[tuple[str, str, str]]) -> None:
        """Configure routes as (machine, prefix, neighbour), whatever was there before."""
        self.reroute(replace(self.links, detours=self.links.detours | detours))

    def straighten(self, detours: frozenset[tuple[str, str, str]]) -> None:
        """Take configured routes back."""
        self.reroute(replace(self.links, detours=self.links.detours - detours))

    def reroute(self, links: Links) -> None:
        """Bring every table to what `routes` says for these links."""
        self.links = links
        wanted = routes(self.topology, links)
        for name, installed in self._installed.items():
            target = frozenset(wanted[name])
            if target != installed:
                self._installed[name] = target
                self.configure(name, self._changes(name, installed, target))

    def _changes(
        self, machine: str, installed: frozenset[Route], target: frozenset[Route]
    ) -> list[netlink.Message]:
        """Deletions first: a replaced IPv6 route of another kind would stay beside the new one."""
        gone = sorted(installed - target, key=str)
        new = sorted(target - installed, key=str)
        deletions = [netlink.delete_route(r.prefix, **self._via(machine, r)) for r in gone]
        return deletions + [netlink.add_route(r.prefix, **self._via(machine, r)) for r in new]

    # -- building

    def _connect(self) -> None:
        taken = dict.fromkeys(self.topology.machines, _LOOPBACK_INDEX)
        messages = []
        for number, link in enumerate(self.topology.links):
            macs = [bytes((2, 0)) + (2 * number + end).to_bytes(4, "big") for end in (0, 1)]
            for end, name in enumerate((link.a, link.b)):
                taken[name] += 1
                self._interfaces[name, link.far(name)] = _Interface(
                    index=taken[name], mac=macs[end], far_mac=macs[1 - end]
                )
            messages.append(netlink.veth_pair(self._end(link.a, link.b), self._end(link.b, link.a)))
        netlink.write(next(iter(self._namespaces.values())), messages)

    def _end(self, machine: str, neighbour: str) -> netlink.End:
        interface = self._interfaces[machine, neighbour]
        return netlink.End(
            namespace=self._namespaces[machine],
            index=interface.index,
            name=interface_name(neighbour),
            mac=interface.mac,
        )

    def _own_messages(self, machine: str) -> list[netlink.Message]:
        messages = [netlink.set_link(_LOOPBACK_INDEX, up=True)]
        for neighbour in self.topology.neighbours[machine]:
            index = self._interfaces[machine, neighbour].index
            messages.append(netlink.set_link(index, up=True))
            messages += self._end_messages(machine, neighbour)
        return messages

    def _end_messages(self, machine: str, neighbour: str) -> list[netlink.Message]:
        link, interface = (
            self.topology.link(machine, neighbour),
            self._interfaces[machine, neighbour],
        )
        messages = [
            netlink.add_address(interface.index, link.address(machine, 4), 31),
            netlink.add_address(interface.index, link.address(machine, 6), 127),
        ]
        if not _learns(self.topology, link):
            messages += [
                netlink.add_neighbour(
                    interface.index, link.address(neighbour, family), interface.far_mac
                )
                for family in FAMILIES
            ]
        return messages

    def _route_messages(self, machine: str) -> list[netlink.Message]:
        installed = sorted(self._installed[machine], key=str)
        return [netlink.add_route(r.prefix, **self._via(machine, r)) for r in installed]

    def _via(self, machine: str, route: Route) -> dict[str, Any]:
        if route.via is None:
            return {"via": None, "index": None}
        link = self.topology.link(machine, route.via)
        family = 6 if ":" in route.prefix else 4
        return {
            "via": link.address(route.via, family),
            "index": self._interfaces[machine, route.via].index,
        }


def _learns(topology: Topology, link: Link) -> bool:
    return any(topology.machines[name].part in _LEARNING_PARTS for name in (link.a, link.b))


def _settings(machine: Machine) -> dict[str, int | str]:
    # Without a link-local address nobody can ask for neighbours, which is fine where none is asked.
    link_local = machine.part in _LEARNING_PARTS | {Part.PREFIX, Part.BORDER, Part.ACCESS}
    own = _ON_ROUTERS if machine.is_router else _ON_ENDS
    return {**_EVERYWHERE, **own, "ipv6/conf/default/addr_gen_mode": 0 if link_local else 1}


def _write_settings(namespace: int, settings: Mapping[str, float | str]) -> None:
    with in_namespace(namespace):
        for key, value in settings.items():
            Path(f"/proc/sys/net/{key}").write_text(str(value))


def _with_search_path(environ: Mapping[str, str]) -> dict[str, str]:
    return {**environ, "PATH": search_path(environ)}


def _end(process: subprocess.Popen[Any]) -> None:
    """Kill a process and its session's group, also when it is stopped, and collect it."""
    if process.poll() is None:
        for number in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:  # it is in somebody else's group, or just ended
                process.send_signal(number)
    process.wait()
