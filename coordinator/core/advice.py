"""What a valid configuration leaves undecidable: said before the incident, when it can be mended.

A verdict can only be as good as the controls that were chosen beforehand. A configuration without
them is no mistake, so none of this is a finding; but whoever runs it should know today what no
verdict of it will ever say. Each sentence names the reason that verdicts will give.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coordinator.core.settings import Component, Config, Service
from proto.model import Kind, Role

ANCHORS_MIN: Final = 8
ANCHOR_NETWORKS_MIN: Final = 5
"""Control C1 of the method: enough unrelated, well run targets to doubt a vantage point by."""

SIBLINGS_MIN: Final = 2
"""Parts beside a component that must be fine before its failure is called its own."""


def advice(config: Config) -> tuple[str, ...]:
    """One sentence for each thing that verdicts will not be able to say."""
    return tuple(_anchors(config.anchors)) + tuple(
        text for service in config.services for text in _service(service)
    )


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
