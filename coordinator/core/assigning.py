"""Who measures what: the groups that a probe fits, as many of a group as were asked for, and no
target asked more often by the whole fleet than it may be.

The naive answer counts off a list, and every probe that comes or goes shifts all that stand behind
it: thousands of plans change, and with them which slots are due. Ours ranks probes by a hash of
their ids (rendezvous hashing), network after network: who leaves is replaced by the next in rank,
and nobody else is touched. The same order serves every target, so the probes that measure a small
target also measure the large ones: what stands beside each other was seen from the same places.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from coordinator.core.controls import asked_of
from coordinator.core.registry import ProbeState, Vantage
from coordinator.core.settings import ANCHOR_SERVICE, CANARY_SERVICE, Component, Config, Group
from proto.model import Kind

AWAY_AFTER_US: Final = 300 * 1_000_000
"""A probe that was away for longer gives its place in a group to another: a restart or a flapping
link moves nothing."""

EVERYBODYS: Final = frozenset({ANCHOR_SERVICE, CANARY_SERVICE})
"""What every probe measures, whatever its groups."""

Key = tuple[str, str]
"""A component: its service and its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A probe as the planner sees it. Families and capabilities are those it last said."""

    probe_id: str
    vantage: Vantage
    families: frozenset[int] = frozenset()
    capabilities: frozenset[str] = frozenset()
    state: ProbeState = ProbeState.ENROLLED
    is_away: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """What is decided over the whole fleet: the places of groups, and whom a target is spared."""

    chosen: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by group with `probes`
    spared: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by host: who leaves it be


def fits(group: Group, candidate: Candidate) -> bool:
    """Is the probe what the group asks for? What a group does not name, it does not ask for."""
    vantage = candidate.vantage
    return (
        group.labels.items() <= vantage.labels.items()
        and (not group.asns or vantage.asn in group.asns)
        and (not group.countries or vantage.country in group.countries)
        and candidate.families.issuperset(group.families)
        and candidate.capabilities.issuperset(group.capabilities)
    )


def allot(config: Config, candidates: Iterable[Candidate]) -> Allotment:
    """Give out the places of groups, then spare each target the probes beyond its ceiling."""
    ranked = rank(candidates)
    chosen = {
        group.name: _places(group.probes, (c for c in ranked if fits(group, c)))
        for group in config.groups
        if group.probes is not None
    }
    placed = Allotment(chosen=chosen)
    ceiling = config.limits.fleet_per_target_per_minute
    wishes = [(one.probe_id, services_of(one, config, placed)) for one in ranked]
    spared = {}
    for host, services in _services_by_host(config).items():
        load = requests_per_minute(config, host)
        asking = [
            probe_id
            for probe_id, wish in wishes
            if wish is None or not services.isdisjoint(wish | EVERYBODYS)
        ]
        beyond = asking[int(ceiling // load) :] if load else ()
        if beyond:
            spared[host] = frozenset(beyond)
    return Allotment(chosen=chosen, spared=spared)


def _services_by_host(config: Config) -> dict[str, set[str]]:
    """Which services lead to each host; what every probe measures is a service of its own."""
    hosts: dict[str, set[str]] = {}
    for component in config.components():
        hosts.setdefault(component.url.host, set()).add(component.service)
    return hosts


def _places(probes: int, ranked: Iterable[Candidate]) -> frozenset[str]:
    """The first so many, in as many networks as can be."""
    return frozenset(one.probe_id for one in rank(ranked)[:probes])


def rank(candidates: Iterable[Candidate]) -> list[Candidate]:
    """In the order in which places are given: present before away, and network after network.

    Whoever leaves, nobody who had one of the first n places loses it.
    """
    met: Counter[tuple[int, int | None]] = Counter()
    placed = []
    weighed = [(_standing(one), _weight(one.probe_id), one.probe_id, one) for one in candidates]
    for standing, weight, probe_id, one in sorted(weighed, key=lambda entry: entry[:3]):
        network = (standing, one.vantage.asn)
        placed.append((standing, met[network], weight, probe_id, one))
        met[network] += 1
    return [one for *_, one in sorted(placed, key=lambda entry: entry[:4])]


def _standing(candidate: Candidate) -> int:
    """Places go to probes that are here and believed, then to the doubted, then to the absent."""
    return 2 * candidate.is_away + (candidate.state is ProbeState.QUARANTINED)


def _weight(probe_id: str) -> int:
    """Uniform over probes, and the same on every machine."""
    return int.from_bytes(hashlib.sha256(probe_id.encode()).digest()[:8], "big")


def services_of(
    candidate: Candidate, config: Config, allotment: Allotment
) -> frozenset[str] | None:
    """The services that a probe is to measure; None = all, for want of groups."""
    if not config.groups:
        return None
    return frozenset(
        service
        for group in config.groups
        if _has_place(group, candidate, allotment)
        for service in group.services
    )


def _has_place(group: Group, candidate: Candidate, allotment: Allotment) -> bool:
    if group.probes is not None:
        return candidate.probe_id in allotment.chosen.get(group.name, frozenset())
    return fits(group, candidate)


def components_of(candidate: Candidate, config: Config, allotment: Allotment) -> frozenset[Key]:
    """What a probe measures: its services and every anchor, but no target that is spared it."""
    services = services_of(candidate, config, allotment)
    return frozenset(
        (component.service, component.name)
        for component in config.components()
        if (services is None or component.service in services | EVERYBODYS)
        and candidate.probe_id not in allotment.spared.get(component.url.host, frozenset())
    )


def requests_per_minute(config: Config, host: str) -> float:
    """What one probe that measures all of a host asks of it: packets of ICMP, else requests."""
    return sum(
        load_of(component) for component in config.components() if component.url.host == host
    )


def load_of(component: Component) -> float:
    """Requests a minute of one probe. Queries for its name go to resolvers, and what runs only on a failure is bounded elsewhere."""
    each = sum(
        component.packets if asked.kind is Kind.ICMP else 1
        for asked in asked_of(component)
        if asked.kind is not Kind.DNS and not asked.only_triggered
    )
    return each * 60 / component.interval_s
