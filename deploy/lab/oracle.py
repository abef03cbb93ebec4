"""Who can reach whom, from the model alone: routes, links and rules, no packet sent.

For an exchange (an echo, a handshake, a query) the oracle lays the request along the routing
tables of the way there and the reply along those of the way back, which are often not the same
way, and asks at every hook of every machine whether a rule picks the packet.

    certain drop, reject or reset, or no route    -> unreachable
    drop of a share, a limit, a congested link    -> degraded
    else                                          -> reachable

It answers for packets, not for programs: a server that is down is not its business.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from deploy.lab.faults.base import Affected, Outcome
from deploy.lab.routing import ALL_UP, Links, Paths
from deploy.lab.rules import Hook, Packet, Rule, Stage
from deploy.lab.topology import FAMILIES, Part, Topology

_WORSE: Final = {Outcome.REACHABLE: 0, Outcome.DEGRADED: 1, Outcome.UNREACHABLE: 2}
_HTTPS, _DNS = 443, 53

# Protocol -> its packets as (is it a request?, transport, stage), and the server's port.
EXCHANGES: Final[dict[str, tuple[tuple[tuple[bool, str, Stage], ...], int | None]]] = {
    "icmp": (((True, "icmp", Stage.ECHO), (False, "icmp", Stage.ECHO_REPLY)), None),
    "tcp": (((True, "tcp", Stage.SYN), (False, "tcp", Stage.SYN_ACK)), _HTTPS),
    "tls": (
        (
            (True, "tcp", Stage.SYN),
            (False, "tcp", Stage.SYN_ACK),
            (True, "tcp", Stage.PAYLOAD),
            (False, "tcp", Stage.PAYLOAD),
        ),
        _HTTPS,
    ),
    "udp": (((True, "udp", Stage.ANY), (False, "udp", Stage.ANY)), _DNS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """A link whose sending end passes only so much, with a queue of whole packets before it."""

    machine: str
    neighbour: str
    mbit_per_s: float = 10.0
    queue_packets: int = 85  # full frames: 84 ms at 10 Mbit/s

    @property
    def link(self) -> tuple[str, str]:
        """The directed link."""
        return self.machine, self.neighbour


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A flood from one machine to another."""

    source: str
    destination: str
    mbit_per_s: float
    family: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """What is wrong with the network: a value that can be imagined without being done."""

    rules: tuple[Rule, ...] = ()
    links: Links = ALL_UP
    bottlenecks: tuple[Bottleneck, ...] = ()
    streams: tuple[Stream, ...] = ()

    def joined(self, other: Disturbance) -> Disturbance:
        """Both at once."""
        return Disturbance(
            rules=self.rules + other.rules,
            links=Links(
                down=self.links.down | other.links.down,
                withdrawn=self.links.withdrawn | other.links.withdrawn,
                detours=self.links.detours | other.links.detours,
            ),
            bottlenecks=self.bottlenecks + other.bottlenecks,
            streams=self.streams + other.streams,
        )


class Oracle:
    """Answers for one topology under one disturbance."""

    def __init__(self, topology: Topology, disturbance: Disturbance | None = None) -> None:
        self.topology = topology
        self.disturbance = disturbance or Disturbance()
        self._paths = Paths(topology, self.disturbance.links)

    def reachable(
        self, vantage: str, machine: str, *, protocol: str, family: int, port: int | None = None
    ) -> Outcome:
        """How an exchange between a vantage and a machine ends.

        `protocol` is icmp, tcp (the handshake), tls (handshake and first bytes) or udp; `port` is
        443, or 53 for udp, unless said otherwise.
        """
        steps, usual_port = EXCHANGES[protocol]
        worst = Outcome.REACHABLE
        for to_server, transport, stage in steps:
            ends = (vantage, machine) if to_server else (machine, vantage)
            source, destination = (self._address(name, family) for name in ends)
            packet = Packet(
                family=family,
                protocol=transport,
                stage=stage,
                source=source,
                destination=destination,
                port=usual_port if port is None else port,
                to_server=to_server,
            )
            worst = _worse(worst, self._fate(packet, *ends))
        return worst

    def affected(self, protocols: tuple[str, ...] = tuple(EXCHANGES)) -> frozenset[Affected]:
        """Every (vantage, end machine, protocol, family) that is not plainly reachable."""
        return frozenset(self._suffering(protocols))

    @cached_property
    def congested(self) -> frozenset[tuple[str, str]]:
        """Directed links through which more wants to pass than can."""
        load: dict[tuple[str, str], float] = {}
        for stream in self.disturbance.streams:
            path = self.path(stream.source, stream.destination, stream.family)
            for link in itertools.pairwise(path):
                load[link] = load.get(link, 0.0) + stream.mbit_per_s
        narrow = self.disturbance.bottlenecks
        return frozenset(b.link for b in narrow if load.get(b.link, 0.0) > b.mbit_per_s)

    def _suffering(self, protocols: tuple[str, ...]) -> Iterator[Affected]:
        for vantage, machine, family in self._touched():
            for protocol in protocols:
                outcome = self.reachable(vantage, machine, protocol=protocol, family=family)
                if outcome is not Outcome.REACHABLE:
                    yield Affected(
                        vantage=vantage,
                        machine=machine,
                        protocol=protocol,
                        family=family,
                        outcome=outcome,
                    )

    def _touched(self) -> Iterator[tuple[str, str, int]]:
        """Pairs with anything at all in their way, there or back: the rest need no packets."""
        topology = self.topology
        ends = [m.name for m in topology.machines.values() if not m.is_router]
        targets = [name for name in ends if topology.machines[name].part is not Part.VANTAGE]
        for vantage, machine, family in itertools.product(topology.vantages, targets, FAMILIES):
            ways = ((vantage, machine, family), (machine, vantage, family))
            if not all(self._is_clear(*way) for way in ways):
                yield vantage, machine, family

    def _is_clear(self, source: str, destination: str, family: int) -> bool:
        path = self.path(source, destination, family)
        return (
            path[-1] == destination
            and not self._rules_met(source, destination, family)
            and not (self.congested and self._is_congested(path))
        )

    def _is_congested(self, path: tuple[str, ...]) -> bool:
        return not self.congested.isdisjoint(itertools.pairwise(path))

    def _fate(self, packet: Packet, source: str, destination: str) -> Outcome:
        path = self.path(source, destination, packet.family)
        worst = Outcome.REACHABLE if path[-1] == destination else Outcome.UNREACHABLE
        if self.congested and self._is_congested(path):
            worst = _worse(worst, Outcome.DEGRADED)
        for rule in self._rules_met(source, destination, packet.family):
            if rule.match.picks(packet):
                certain = Outcome.UNREACHABLE if rule.is_certain else Outcome.DEGRADED
                worst = _worse(worst, certain)
        return worst

    def _rules_met(self, source: str, destination: str, family: int) -> tuple[Rule, ...]:
        """Rules whose place is on the path; remembered, because most paths meet none."""
        key = (source, destination, family)
        if key not in self._known_rules:
            path = self.path(source, destination, family)
            self._known_rules[key] = tuple(self._rules_on(path, destination))
        return self._known_rules[key]

    def _rules_on(self, path: tuple[str, ...], destination: str) -> Iterator[Rule]:
        for place, machine in enumerate(path):
            before = path[place - 1] if place else None
            for rule in self._rules_at.get(machine, ()):
                if _meets(rule.hook, starts=before is None, ends=machine == destination) and (
                    not rule.arriving_from or before in rule.arriving_from
                ):
                    yield rule

    @cached_property
    def _known_rules(self) -> dict[tuple[str, str, int], tuple[Rule, ...]]:
        return {}

    @cached_property
    def _rules_at(self) -> dict[str, list[Rule]]:
        found: dict[str, list[Rule]] = {}
        for rule in self.disturbance.rules:
            found.setdefault(rule.machine, []).append(rule)
        return found

    @cached_property
    def _known_paths(self) -> dict[tuple[str, str, int], tuple[str, ...]]:
        return {}

    def path(self, source: str, destination: str, family: int) -> tuple[str, ...]:
        """The machines from source to destination, or to where it ends before."""
        key = (source, destination, family)
        if key not in self._known_paths:
            self._known_paths[key] = self._paths.path(source, destination, family)
        return self._known_paths[key]

    def _address(self, name: str, family: int) -> int:
        key = (name, family)
        if key not in self._known_addresses:
            address = ipaddress.ip_address(self.topology.address(name, family))
            self._known_addresses[key] = int(address)
        return self._known_addresses[key]

    @cached_property
    def _known_addresses(self) -> dict[tuple[str, int], int]:
        return {}


def _meets(hook: Hook, *, starts: bool, ends: bool) -> bool:
    match hook:
        case Hook.INGRESS:
            return not starts
        case Hook.OUTPUT:
            return starts
        case Hook.INPUT:
            return ends
        case Hook.FORWARD:
            return not starts and not ends


def _worse(one: Outcome, other: Outcome) -> Outcome:
    return one if _WORSE[one] >= _WORSE[other] else other
