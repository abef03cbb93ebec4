"""Where targets stand relative to the judged one: roles, prefixes, networks."""

from __future__ import annotations

import numpy as np

from analysis.core.block import Bools, Target
from analysis.core.masks import lay_out, prefix_key
from proto.model import Role


def target(component: str, role: Role | None, **facts: object) -> Target:
    service = str(facts.pop("service", "x"))
    return Target(service=service, component=component, role=role, **facts)  # type: ignore[arg-type]


WORLD = (
    target("spaces", Role.SUBJECT, address="198.51.100.1", asn=1),
    target("page", Role.SIBLING, address="198.51.100.1", asn=1),
    target("near", Role.NEIGHBOUR, address=None),
    target("same", Role.SAME_AS, address="203.0.113.1", asn=1),
    target("peer", Role.CDN_PEER, address="203.0.113.200", asn=9),
    target("far", Role.SUBJECT, service="y", address="192.0.2.1", asn=7),
    target("close", Role.SUBJECT, service="z", address="198.51.100.77", asn=8),
    target("a", Role.ANCHOR, service="x", address="192.0.2.9", asn=5),
    target("b", Role.ANCHOR, service="anchor", address=None),
)


def names(mask: Bools) -> set[str]:
    return {WORLD[int(i)].component for i in np.flatnonzero(mask)}


def test_the_hierarchy_follows_addresses_prefixes_and_roles() -> None:
    """Host by address, prefix by covering network or declared neighbour, network by AS or role."""
    layout = lay_out(WORLD, service="x", component="spaces")
    assert [WORLD[i].component for i in layout.subjects] == ["spaces"]
    assert names(layout.service) == {"spaces", "page"}
    assert names(layout.siblings) == {"page"}
    assert names(layout.host[0]) == {"spaces", "page"}
    assert names(layout.prefix[0]) == {"spaces", "page", "near", "close"}
    assert names(layout.network[0]) == {"spaces", "page", "near", "close", "same"}


def test_anchors_are_unrelated_targets_of_anyone() -> None:
    """Role anchor counts under any service; a stranger in the prefix does not."""
    layout = lay_out(WORLD, service="x", component="spaces")
    assert names(layout.anchors) == {"far", "a", "b"}
    assert names(layout.strangers) == {"near", "close", "same"}


def test_the_whole_service_is_its_subjects_or_else_its_siblings() -> None:
    """Without a component the subjects are judged; a service of siblings alone is judged whole."""
    assert len(lay_out(WORLD, service="x", component=None).subjects) == 1
    siblings = (target("page", Role.SIBLING), target("api", Role.SIBLING))
    assert lay_out(siblings, service="x", component=None).subjects == (0, 1)


def test_a_sibling_can_be_asked_about_by_name() -> None:
    """Any component of the service may stand at the centre."""
    layout = lay_out(WORLD, service="x", component="page")
    assert [WORLD[i].component for i in layout.subjects] == ["page"]
    assert not lay_out(WORLD, service="x", component="near").subjects


def test_prefixes_are_declared_or_covering_or_unknown() -> None:
    """A declared prefix wins; an address gives the covering /24 or /48; a name gives nothing."""
    assert prefix_key(target("t", None, prefix="198.18.0.0/15")) == "198.18.0.0/15"
    assert prefix_key(target("t", None, address="198.51.100.9")) == "198.51.100.0/24"
    assert prefix_key(target("t", None, address="2001:db8:1:2::3")) == "2001:db8:1::/48"
    assert prefix_key(target("t", None, address="example.org")) is None
    assert prefix_key(target("t", None)) is None
