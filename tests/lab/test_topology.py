"""Who is on the lab's internet, and how its tables lead there."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.internet import internet
from deploy.lab.routing import Links, Paths
from deploy.lab.topology import (
    FAMILIES,
    NAME_LIMIT,
    Part,
    Topology,
    interface_name,
)

TOPOLOGY = internet()
ENDS = tuple(m.name for m in TOPOLOGY.machines.values() if not m.is_router)


def test_the_demo_has_the_vantages_it_promises() -> None:
    """There are 24 vantages in 12 access networks of 6 countries, two in each network."""
    access = TOPOLOGY.access_networks()
    assert (len(TOPOLOGY.vantages), len(access)) == (24, 12)
    assert len({TOPOLOGY.machine(v).country for v in TOPOLOGY.vantages}) == 6
    assert {len(TOPOLOGY.vantages_in(access=router)) for router in access} == {2}


def test_the_controls_exist() -> None:
    """The live component has strangers in its prefix, a sibling outside it, and eight anchors."""
    near = TOPOLOGY.neighbour_machines(TOPOLOGY.prefix_of("x-live"))
    assert set(near) == {"x-front", "x-live", "stranger-a", "stranger-b"}
    assert TOPOLOGY.system_of("x-other") is TOPOLOGY.system_of("x-live")
    assert TOPOLOGY.prefix_of("x-other") != TOPOLOGY.prefix_of("x-live")
    anchors = TOPOLOGY.names(Part.ANCHOR)
    assert len(anchors) == len({TOPOLOGY.machine(a).asn for a in anchors}) == 8


def test_every_address_is_in_a_prefix_of_its_network_and_nowhere_else() -> None:
    """Announced prefixes do not overlap, and each end machine lies in one of its network's own."""
    networks = [ipaddress.ip_network(prefix) for prefix in TOPOLOGY.all_prefixes]
    pairs = itertools.combinations(networks, 2)
    assert not any(a.version == b.version and a.overlaps(b) for a, b in pairs)
    for name, family in itertools.product(ENDS, FAMILIES):
        address = ipaddress.ip_address(TOPOLOGY.address(name, family))
        assert address in ipaddress.ip_network(TOPOLOGY.prefix_of(name, family))


def test_no_address_is_used_twice() -> None:
    """Every end of every link has an address of its own."""
    used = [a for link in TOPOLOGY.links for a in (link.a4, link.b4, link.a6, link.b6)]
    assert len(used) == len(set(used))


def test_names_fit_an_interface() -> None:
    """The longest machine name still makes an interface name that the kernel takes."""
    assert max(map(len, TOPOLOGY.machines)) <= NAME_LIMIT
    assert len(interface_name("x" * NAME_LIMIT)) == 15


def test_two_resolvers_for_every_vantage() -> None:
    """Each vantage knows two resolvers, and vantages of one network start with different ones."""
    assert all(len(set(TOPOLOGY.resolvers[v])) == 2 for v in TOPOLOGY.vantages)
    first, second = TOPOLOGY.vantages_in(access="ac01")
    assert TOPOLOGY.resolvers[first][0] != TOPOLOGY.resolvers[second][0]


@pytest.mark.parametrize(
    ("ask", "word"),
    [
        (lambda t: t.machine("v99"), "no machine 'v99'"),
        (lambda t: t.link("v01", "tr1"), "linked to \\['ac01'\\]"),
        (lambda t: t.system_named("z"), "no network 'z'"),
        (lambda t: t.address("tr1"), "tr1 is a router"),
    ],
)
def test_unknown_names_are_answered_with_what_there_is(
    ask: Callable[[Topology], object], word: str
) -> None:
    """A wrong name is refused with the name and what would have been right."""
    with pytest.raises(LookupError, match=word):
        ask(TOPOLOGY)


def test_everyone_reaches_everyone() -> None:
    """With all links up, every vantage and every end machine have a path there and back."""
    paths = Paths(TOPOLOGY)
    for vantage, end, family in itertools.product(TOPOLOGY.vantages, ENDS, FAMILIES):
        assert paths.path(vantage, end, family)[-1] == end
        assert paths.path(end, vantage, family)[-1] == vantage


def test_the_way_there_differs_from_the_way_back() -> None:
    """Routes are asymmetric where the two networks prefer different transits."""
    paths = Paths(TOPOLOGY)
    there = paths.path("v05", "x-live", 4)
    back = paths.path("x-live", "v05", 4)
    assert there == ("v05", "ac03", "tr3", "tr1", "x-border", "x-pa", "x-live")
    assert back == ("x-live", "x-pa", "x-border", "tr1", "ac03", "v05")


def test_a_lost_uplink_moves_the_traffic() -> None:
    """Without its preferred transit a network is reached, and reaches, through the other."""
    down = frozenset({frozenset(("x-border", "tr1"))})
    paths = Paths(TOPOLOGY, Links(down=down))
    assert paths.path("v01", "x-live", 6)[2:4] == ("tr1", "tr2")
    assert paths.path("x-live", "v01", 6)[3] == "tr2"


def test_a_withdrawn_network_is_reached_by_nobody() -> None:
    """Transits forget the prefixes of a network that took them back, and only those."""
    paths = Paths(TOPOLOGY, Links(withdrawn=frozenset({TOPOLOGY.system_named("x").asn})))
    assert paths.path("v01", "x-live", 4) == ("v01", "ac01", "tr1")
    assert paths.path("v01", "y-front", 4)[-1] == "y-front"


def test_a_prefix_router_without_its_cable_cuts_only_its_prefix() -> None:
    """The border answers for a prefix that it cannot hand on, instead of sending it back out."""
    paths = Paths(TOPOLOGY, Links(down=frozenset({frozenset(("x-border", "x-pa"))})))
    assert paths.path("v01", "x-live", 4)[-1] == "x-border"
    assert paths.path("v01", "x-other", 4)[-1] == "x-other"


PAIRS = tuple(frozenset((link.a, link.b)) for link in TOPOLOGY.links)


@given(st.frozensets(st.sampled_from(PAIRS), max_size=12))
def test_no_set_of_dead_links_makes_a_loop(down: frozenset[frozenset[str]]) -> None:
    """Whatever links are down, a packet visits no machine twice and crosses no dead link."""
    paths = Paths(TOPOLOGY, Links(down=down))
    for vantage, end in itertools.product(TOPOLOGY.vantages[::5], ("x-live", "anchor-b")):
        for path in (paths.path(vantage, end, 4), paths.path(end, vantage, 6)):
            assert len(path) == len(set(path))
            assert not down & {frozenset(pair) for pair in itertools.pairwise(path)}
