"""What a valid configuration leaves undecidable or unmeasured: said while it can be mended.

A verdict can only be as good as the controls that were chosen beforehand. A configuration without
them is no mistake, so none of this is a finding; but whoever runs it should know today what no
verdict of it will ever say. Each sentence names the reason that verdicts will give.

Nor is it a mistake to ask more than the host of a probe allows: each host decides, and `probes show`
says of each what it refuses. Here only the limits that a probe comes with are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coordinator.core.planner import Definition, check_ids, define_checks, number_checks
from coordinator.core.settings import ANCHOR_SERVICE, Component, Config, Service
from proto.charges import refused
from proto.model import Check, HostLimits, Kind, Role

ANCHORS_MIN: Final = 8
ANCHOR_NETWORKS_MIN: Final = 5
"""Control C1 of the method: enough unrelated, well run targets to doubt a vantage point by."""

SIBLINGS_MIN: Final = 2
"""Parts beside a component that must be fine before its failure is called its own."""


def advice(config: Config) -> tuple[str, ...]:
    """One sentence for each thing that verdicts will not be able to say, or that hosts refuse."""
    return (
        *_anchors(config.anchors),
        *(text for service in config.services for text in _service(service)),
        *_beyond_hosts(config),
    )


def _beyond_hosts(config: Config) -> Iterator[str]:
    """What hosts refuse that leave the limits of probe.toml as they are; each group is a plan."""
    numbers = number_checks(check_ids(config), {})
    definitions = define_checks(config, numbers)
    everything = frozenset(service.name for service in config.services)
    plans = [frozenset(group.services) for group in config.groups] or [everything]
    said = {
        text: None
        for services in plans
        for text in refused(_checks_of(definitions, services), HostLimits())
    }
    for text in said:
        yield f"limits of probe.toml, where a host leaves them as they come: {text}"


def _checks_of(definitions: tuple[Definition, ...], services: frozenset[str]) -> list[Check]:
    return [
        one.check
        for one in definitions
        if one.component.service in services or one.component.service == ANCHOR_SERVICE
    ]


def _anchors(anchors: tuple[Component, ...]) -> Iterator[str]:
    networks = {anchor.asn for anchor in anchors if anchor.asn is not None}
    if len(anchors) < ANCHORS_MIN or len(networks) < ANCHOR_NETWORKS_MIN:
        yield (
            f"anchor: {len(anchors)} in {len(networks)} networks (key asn); with fewer than "
            f"{ANCHORS_MIN} in {ANCHOR_NETWORKS_MIN} a vantage point can hardly be told from its "
            "target (controls_down)"
        )


def _service(service: Service) -> Iterator[str]:
    subjects = [c for c in service.components if c.role is Role.SUBJECT]
    siblings = [c for c in service.components if c.role is Role.SIBLING]
    if not subjects:
        return
    if len(subjects) + len(siblings) - 1 < SIBLINGS_MIN:
        yield (
            f"service[{service.name}]: fewer than {SIBLINGS_MIN} parts beside a component; a fault "
            "of one part and one of the whole will look alike (no_siblings)"
        )
    if not any(c.role is Role.NEIGHBOUR for c in service.components):
        yield (
            f"service[{service.name}]: no component with the role neighbour, a stranger on the same "
            "network; a fault of the host and one of its network will look alike (no_neighbours)"
        )
    for subject in subjects:
        if subject.is_resolved and Kind.DNS not in subject.kinds:
            yield (
                f"service[{service.name}].component[{subject.name}]: its name is not asked for "
                "(kinds has no dns); a failing name will look like a failing target"
            )
