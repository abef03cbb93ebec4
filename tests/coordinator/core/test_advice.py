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


FAST = {"defaults": {"interval_s": 1, "timeout_s": 1}, "limits": {"per_target_per_minute": 60}}


def test_what_hosts_refuse_by_themselves_is_said() -> None:
    """A target that is asked more often than probe.toml allows unless its host says otherwise."""
    services = [{"name": "x", "component": [WEB, *PARTS, NEAR]}]
    document = {"service": services, "anchor": ANCHORS}
    assert advice(validate(document, file="f")) == ()
    texts = advice(validate({**document, **FAST}, file="f"))
    assert any("x.test is asked 240 times a minute" in text for text in texts)
    assert all("limits of probe.toml" in text for text in texts)


def test_each_group_is_a_plan_of_its_own() -> None:
    """Two halves that each fit a host are no fault, though no host would run both."""
    names = ("x", "y")
    services = [
        {
            "name": name,
            "component": [{"name": f"c{n}", "url": f"tcp://{name}{n}.test:1"} for n in range(400)],
        }
        for name in names
    ]
    groups = [{"name": name, "services": [name]} for name in names]
    document = {"service": services, "anchor": ANCHORS}
    beyond = "slots fall due a second"
    assert any(beyond in text for text in advice(validate(document, file="f")))
    apart = advice(validate({**document, "group": groups}, file="f"))
    assert not any(beyond in text for text in apart)
