r"""The small internet as plain values: who exists, in which network and country, linked to whom.

                       tr1 ---- tr2 ---- tr3           three transit networks, each linked to each
                       / \      / \      / \
                  access networks and edge networks,   each linked to two transits, one preferred
                    |                     |
                 vantages     border - prefix router - machines

Every machine is one network namespace. A target network has a border and a router per prefix, so
that a fault can sit on one prefix and leave the network's other prefix alone: the difference that
the controls "neighbour" and "same network" exist to see.

Tests and scenarios name machines, never addresses. Addresses come from ranges that no public
machine has: RFC 1918 (access), RFC 2544 and RFC 5737 (edge), RFC 6598 (between routers), RFC 3849
(IPv6); network numbers from RFC 5398 and RFC 6996.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final

FAMILIES: Final = (4, 6)
NAME_LIMIT: Final = 12  # "to-" and a name must fit an interface name of 15 characters


class Part(StrEnum):
    """The part a machine plays."""

    VANTAGE = "vantage"
    ACCESS = "access"  # router of an access network
    TRANSIT = "transit"
    BORDER = "border"  # router of an edge network
    PREFIX = "prefix"  # router of one prefix inside an edge network
    SERVER = "server"
    STRANGER = "stranger"  # a server of somebody else, in a target's prefix
    ANCHOR = "anchor"
    NAMESERVER = "nameserver"  # authoritative
    RESOLVER = "resolver"
    CROWD = "crowd"
    COORDINATOR = "coordinator"


ROUTERS: Final = frozenset({Part.ACCESS, Part.TRANSIT, Part.BORDER, Part.PREFIX})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One namespace: a router (no address of its own) or an end machine (one per family)."""

    name: str
    part: Part
    asn: int
    country: str
    address4: str | None = None
    address6: str | None = None

    @property
    def is_router(self) -> bool:
        return self.part in ROUTERS

    def address(self, family: int = 4) -> str:
        """The machine's address; routers have none and raise `LookupError`."""
        found = self.address4 if family == 4 else self.address6
        if found is None:
            raise LookupError(f"{self.name} is a router and has no IPv{family} address of its own")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class AutonomousSystem:
    """A network with a number: its prefixes by the router that holds them, its transits by preference."""

    asn: int
    name: str
    country: str
    border: str
    transits: tuple[str, ...]
    prefixes: tuple[tuple[str, str], ...]  # (prefix, router): IPv4 and IPv6 alike

    def announced(self, family: int | None = None) -> tuple[str, ...]:
        """The prefixes of one family, or of both."""
        return tuple(prefix for prefix, _ in self.prefixes if family in {None, family_of(prefix)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A cable between two machines, with its addresses at either end."""

    a: str
    b: str
    a4: str
    b4: str
    a6: str
    b6: str

    def address(self, machine: str, family: int) -> str:
        """The address of the end at `machine`."""
        if machine == self.a:
            return self.a4 if family == 4 else self.a6
        return self.b4 if family == 4 else self.b6

    def far(self, machine: str) -> str:
        """The machine at the other end."""
        return self.b if machine == self.a else self.a


@dataclass(frozen=True)
class Topology:
    """Machines, links and autonomous systems; lookups by name."""

    machines: dict[str, Machine]
    links: tuple[Link, ...]
    systems: dict[int, AutonomousSystem]
    resolvers: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # vantage -> resolver machines

    @cached_property
    def neighbours(self) -> dict[str, dict[str, Link]]:
        """Machine -> neighbour -> the link between them."""
        found: dict[str, dict[str, Link]] = {name: {} for name in self.machines}
        for link in self.links:
            found[link.a][link.b] = link
            found[link.b][link.a] = link
        return found

    def link(self, a: str, b: str) -> Link:
        """The link between two machines; `LookupError` names those that `a` does have."""
        near = self.neighbours.get(a, {})
        if b not in near:
            raise LookupError(f"no link {a}->{b}: {a!r} is linked to {sorted(near)}")
        return near[b]

    def machine(self, name: str) -> Machine:
        """The machine of that name; `LookupError` lists what exists."""
        if name not in self.machines:
            raise LookupError(f"no machine {name!r}; there are {', '.join(self.machines)}")
        return self.machines[name]

    def names(self, *parts: Part) -> tuple[str, ...]:
        """Names of the machines that play any of these parts, in order of creation."""
        return tuple(name for name, machine in self.machines.items() if machine.part in parts)

    @cached_property
    def vantages(self) -> tuple[str, ...]:
        """Names of the vantage points."""
        return self.names(Part.VANTAGE)

    def address(self, name: str, family: int = 4) -> str:
        """The address of an end machine."""
        return self.machine(name).address(family)

    def system_of(self, name: str) -> AutonomousSystem:
        """The autonomous system that a machine belongs to."""
        return self.systems[self.machine(name).asn]

    def system_named(self, name: str) -> AutonomousSystem:
        """The autonomous system of that name."""
        for system in self.systems.values():
            if system.name == name:
                return system
        raise LookupError(
            f"no network {name!r}; there are {[s.name for s in self.systems.values()]}"
        )

    def prefix_of(self, name: str, family: int = 4) -> str:
        """The announced prefix that an end machine's address lies in."""
        address = ipaddress.ip_address(self.address(name, family))
        announced = self.system_of(name).announced(family)
        return next(prefix for prefix in announced if address in ipaddress.ip_network(prefix))

    def neighbour_machines(self, prefix: str) -> tuple[str, ...]:
        """End machines whose address lies in a prefix."""
        network, family = ipaddress.ip_network(prefix), family_of(prefix)
        ends = (machine for machine in self.machines.values() if not machine.is_router)
        return tuple(m.name for m in ends if ipaddress.ip_address(m.address(family)) in network)

    def access_networks(self, country: str | None = None) -> tuple[str, ...]:
        """Routers of the access networks, of one country or of all."""
        routers = self.names(Part.ACCESS)
        return tuple(r for r in routers if country in {None, self.machines[r].country})

    def vantages_in(
        self, *, access: str | None = None, country: str | None = None
    ) -> tuple[str, ...]:
        """Vantages behind an access router, in a country, or both."""
        return tuple(
            name
            for name in self.vantages
            if country in {None, self.machines[name].country}
            and (access is None or self.machines[name].asn == self.machine(access).asn)
        )

    def access_of(self, vantage: str) -> str:
        """The access router in front of a vantage."""
        return self.system_of(vantage).border

    @cached_property
    def all_prefixes(self) -> tuple[str, ...]:
        """Every announced prefix: what the probes' address policy has to allow in the lab."""
        return tuple(prefix for system in self.systems.values() for prefix in system.announced())


def interface_name(neighbour: str) -> str:
    """What the interface toward a neighbour is called."""
    return f"to-{neighbour}"


def family_of(prefix: str) -> int:
    """4 or 6."""
    return 6 if ":" in prefix else 4
