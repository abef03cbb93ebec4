"""Where packets go: the same tables that the kernel gets, walked in Python.

Truth about a fault has to come from somewhere else than the observation of it. Here it comes from
the routing tables: the network writes them into the kernel, and the oracle walks them. Both read
`routes`, so a wrong table is wrong on both sides and shows as unreachable in both; what the walk
cannot share with the kernel is checked against real packets in the tests.

The policy is the usual one, reduced: an edge network sends everything to the first of its transits
whose link is up; a transit hands a prefix to the network that announces it when it is linked to it,
else to another transit that is, in the announcing network's order of preference.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deploy.lab.topology import FAMILIES, AutonomousSystem, Part, Topology, family_of

DEFAULTS: Final = {4: "0.0.0.0/0", 6: "::/0"}
_HOPS_MAX: Final = 16  # the longest real path has eight: more is a loop


@dataclass(frozen=True, slots=True)
class Route:
    """A prefix and the neighbouring machine it is handed to; None: unreachable, said so."""

    prefix: str
    via: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Which links are down (as unordered pairs) and which networks have withdrawn their prefixes.

    `detours` are routes that somebody configured: (machine, prefix, the neighbour it goes to).
    """

    down: frozenset[frozenset[str]] = frozenset()
    withdrawn: frozenset[int] = frozenset()
    detours: frozenset[tuple[str, str, str]] = frozenset()

    def is_up(self, a: str, b: str) -> bool:
        """Is the link between two machines up?"""
        return frozenset((a, b)) not in self.down


ALL_UP: Final = Links()


def routes(topology: Topology, links: Links = ALL_UP) -> dict[str, tuple[Route, ...]]:
    """The table of every machine, without what the kernel adds by itself (its own links)."""
    return {name: tuple(_with_detours(topology, links, name)) for name in topology.machines}


def _with_detours(topology: Topology, links: Links, name: str) -> Iterator[Route]:
    """A configured route stands in the place of the one that the policy would have."""
    own = {prefix: via for machine, prefix, via in links.detours if machine == name}
    yield from (route for route in _table(topology, links, name) if route.prefix not in own)
    yield from (Route(prefix, via) for prefix, via in own.items())


def _table(topology: Topology, links: Links, name: str) -> Iterator[Route]:
    machine = topology.machines[name]
    system = topology.systems[machine.asn]
    match machine.part:
        case Part.TRANSIT:
            yield from _transit_table(topology, links, name)
        case Part.ACCESS | Part.BORDER:
            yield from _border_table(system, links)
        case Part.PREFIX:
            yield from (Route(prefix, None) for prefix, router in system.prefixes if router == name)
            yield from _defaults(system.border if links.is_up(name, system.border) else None)
        case _:
            router = next(iter(topology.neighbours[name]))
            yield from _defaults(router if links.is_up(name, router) else None)


def _defaults(via: str | None) -> Iterator[Route]:
    if via is not None:
        yield from (Route(DEFAULTS[family], via) for family in FAMILIES)


def _border_table(system: AutonomousSystem, links: Links) -> Iterator[Route]:
    for prefix, router in system.prefixes:
        inside = router != system.border and links.is_up(system.border, router)
        # Unused space of one's own prefix must not follow the default route out and come back.
        yield Route(prefix, router if inside else None)
    usable = (transit for transit in system.transits if links.is_up(system.border, transit))
    yield from _defaults(next(usable, None))


def _transit_table(topology: Topology, links: Links, name: str) -> Iterator[Route]:
    for system in topology.systems.values():
        via = _toward(system, links, name)
        if via is not None and system.asn not in links.withdrawn:
            yield from (Route(prefix, via) for prefix in system.announced())


def _toward(system: AutonomousSystem, links: Links, transit: str) -> str | None:
    attached = [t for t in system.transits if links.is_up(system.border, t)]
    if transit in attached:
        return system.border
    return next((t for t in attached if links.is_up(transit, t)), None)


class Paths:
    """Walks the tables; remembers each next hop, because thousands of walks share a few tables."""

    def __init__(self, topology: Topology, links: Links = ALL_UP) -> None:
        self.topology = topology
        self.links = links
        self._tables = {name: _sorted(table) for name, table in routes(topology, links).items()}
        self._next: dict[tuple[str, str, int], str | None] = {}

    def path(self, source: str, destination: str, family: int) -> tuple[str, ...]:
        """The machines a packet visits, source first; it arrived if the last is the destination."""
        visited = [source]
        while visited[-1] != destination and len(visited) <= _HOPS_MAX:
            following = self._next_hop(visited[-1], destination, family)
            if following is None:
                break
            visited.append(following)
        return tuple(visited)

    def _next_hop(self, machine: str, destination: str, family: int) -> str | None:
        key = (machine, destination, family)
        if key not in self._next:
            self._next[key] = self._look_up(machine, destination, family)
        return self._next[key]

    def _look_up(self, machine: str, destination: str, family: int) -> str | None:
        if destination in self.topology.neighbours[machine]:
            return destination if self.links.is_up(machine, destination) else None
        address = int(ipaddress.ip_address(self.topology.address(destination, family)))
        for network, mask, via in self._tables[machine][family]:
            if address & mask == network:
                return via
        return None


def _sorted(table: tuple[Route, ...]) -> dict[int, list[tuple[int, int, str | None]]]:
    """Per family: (network, mask, via), longest prefix first."""
    found: dict[int, list[tuple[int, int, str | None]]] = {family: [] for family in FAMILIES}
    for route in table:
        network = ipaddress.ip_network(route.prefix)
        entry = (int(network.network_address), int(network.netmask), route.via)
        found[family_of(route.prefix)].append(entry)
    for entries in found.values():
        entries.sort(key=lambda entry: -entry[1])
    return found
