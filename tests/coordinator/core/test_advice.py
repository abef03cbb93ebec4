"""Advice: what a valid configuration will never let a verdict say."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.core.advice import advice
from coordinator.core.validation import validate

ANCHORS = [{"name": f"a{n}", "url": f"tcp://a{n}.test:1", "asn": 64500 + n % 5} for n in range(8)]
WEB = {"name": "web", "url": "https://x.test/", "asn": 64400, "prefix": "192.0.2.0/24"}
PARTS = [{"name": name, "url": f"https://{name}.test/", "role": "sibling"} for name in ("b", "c")]
NEAR = {"name": "near", "url": "https://n.test/", "role": "neighbour", "prefix": "192.0.2.0/24"}


def said(components: list[dict[str, Any]], anchors: list[dict[str, Any]]) -> tuple[str, ...]:
    """The advice on one service."""
    document = {"service": [{"name": "x", "component": components}], "anchor": anchors}
    return advice(validate(document, file="f"))


def test_a_configuration_with_every_control_needs_none() -> None:
    """Anchors, siblings, a neighbour, and the name asked for."""
    assert said([WEB, *PARTS, NEAR], ANCHORS) == ()


@pytest.mark.parametrize(
    ("components", "anchors", "named"),
    [
        ([WEB, *PARTS, NEAR], ANCHORS[:7], "anchor: 7 in 5 networks"),
        ([WEB, *PARTS, NEAR], [{**a, "asn": 1} for a in ANCHORS], "anchor: 8 in 1 networks"),
        ([WEB, *PARTS[:1], NEAR], ANCHORS, "no_siblings"),
        ([WEB, *PARTS], ANCHORS, "no_neighbours"),
        ([{**WEB, "kinds": ["http"]}, *PARTS, NEAR], ANCHORS, "kinds has no dns"),
    ],
)
def test_each_gap_is_named_once(
    components: list[dict[str, Any]], anchors: list[dict[str, Any]], named: str
) -> None:
    """With the reason that verdicts will give, or the key that closes it."""
    (only,) = said(components, anchors)
    assert named in only


def test_a_service_without_a_subject_lacks_nothing() -> None:
    """Nobody asks what failed of parts that only serve as controls."""
    assert said(PARTS, ANCHORS) == ()


def test_a_configuration_of_anchors_alone_lacks_nothing_but_anchors() -> None:
    """Without a service there is nothing to tell apart."""
    assert advice(validate({"anchor": ANCHORS}, file="f")) == ()
