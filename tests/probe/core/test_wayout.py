"""What the ways of connections and echoes to several hosts mean together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from probe.core.finding import Finding, Level
from probe.core.sighting import Sighting
from probe.core.wayout import HostReading, WayReading, distance, find_ways, sign
from proto.model import Hop


def host(
    number: int, tcp_ms: float | None, icmp_ms: float | None, *hops: int | None, **fields: Any
) -> HostReading:
    """A host with these round trips and, where given, hops by connection and by echo."""
    tcp_hops, icmp_hops = hops or (None, None)
    return HostReading(
        name=f"h{number}:443",
        family=fields.pop("family", 4),
        tcp_rtt_us=None if tcp_ms is None else round(tcp_ms * 1000),
        icmp_rtt_us=None if icmp_ms is None else round(icmp_ms * 1000),
        tcp_hops=tcp_hops,
        icmp_hops=icmp_hops,
        **fields,
    )


def found(
    hosts: tuple[HostReading, ...],
    ways: tuple[WayReading, ...] = (),
    *,
    sighting: Sighting | None = None,
) -> dict[str, Finding]:
    """The findings by name."""
    return {finding.name: finding for finding in find_ways(hosts, ways, sighting=sighting)}


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        (host(1, 20, 20), None),
        (host(1, 20, 39), None),
        (host(1, 1, 30), "connections are faster than echoes"),
        (host(1, 30, 1), "connections are slower than echoes"),
        (host(1, 200, 290), None),
        (host(1, 200, 300), "connections are faster than echoes"),
        (host(1, None, 20), None),
        (host(1, 20, None), None),
        (host(1, 20, 20, 9, 10), None),
        (host(1, 20, 20, 11, 9), None),
        (host(1, 20, 20, 1, 10), "connections end nearer than echoes"),
        (host(1, 20, 20, None, 10), None),
        (host(1, 20, 20, 10, None), None),
    ],
)
def test_the_sign_of_one_host(reading: HostReading, says: str | None) -> None:
    """Far apart by 100 ms, or by 20 and twice; or two hops nearer: else nothing."""
    assert sign(reading) == says


@pytest.mark.parametrize(
    ("routers", "hops"),
    [
        (["r1", "r2", "x", "x"], 3),
        (["x", "x"], 1),
        (["r1", None, None, "x"], None),
        (["r1", "r2", None], None),
        ([], None),
    ],
)
def test_how_far_a_host_is(routers: list[str | None], hops: int | None) -> None:
    """Certain only behind a router that answered: a lost packet must not make a host farther."""
    seen = [Hop(ttl=ttl, packet=0, router=router) for ttl, router in enumerate(routers, 1)]
    assert distance(seen, "x") == hops
    assert distance(seen, None) is None


NEAR, FAR = (0.3, 80.0), (80.0, 81.0)


@pytest.mark.parametrize(
    ("pairs", "level", "says"),
    [
        ([FAR, FAR, FAR], Level.OK, "echo and connection agree at 3 hosts"),
        ([NEAR, FAR, FAR], Level.OK, "1 of 3 hosts differ"),
        ([NEAR, NEAR, FAR, FAR], Level.OK, "2 of 4 hosts differ"),
        ([NEAR, NEAR, FAR], Level.LIMITED, "at 2 of 3 hosts connections are faster"),
        ([NEAR, NEAR], Level.LIMITED, "a transparent proxy, a VPN or a tunnel"),
        ([NEAR], Level.LIMITED, "at the only host compared"),
        ([FAR], Level.OK, "agree at 1 hosts"),
        ([NEAR, (20.0, None), (20.0, None)], Level.LIMITED, "at the only host compared"),
    ],
)
def test_most_hosts_must_agree(
    pairs: list[tuple[float, float | None]], level: Level, says: str
) -> None:
    """Two at least, and more than half of those that could be compared."""
    hosts = tuple(host(number, *pair) for number, pair in enumerate(pairs))
    finding = found(hosts)["way out"]
    assert (finding.level, says in finding.says) == (level, True)
    assert bool(finding.costs and finding.fix) == (level is not Level.OK)


def test_a_host_counts_once_for_both_families() -> None:
    """The same host over IPv4 and IPv6 is one witness, not two."""
    hosts = (host(1, *NEAR), host(1, *NEAR, family=6))
    assert "the only host compared" in found(hosts)["way out"].says


def test_nothing_to_compare() -> None:
    """Hosts without an echo say nothing of what is in between."""
    assert "way out" not in found((host(1, 20.0, None),))
    assert found(()) == {}


@pytest.mark.parametrize(
    ("reading", "level", "says"),
    [
        (host(1, 20, 21, 9, 10), Level.OK, "connection 20.0 ms, 9 hops; echo 21.0 ms, 10 hops"),
        (host(1, 20, 21), Level.OK, "connection 20.0 ms; echo 21.0 ms"),
        (host(1, 20, None), Level.OK, "connection 20.0 ms; no echo"),
        (host(1, None, 21), Level.OK, "echo 21.0 ms"),
        (host(1, None, None), Level.LIMITED, "no connection; no echo"),
        (host(1, None, 3, trouble="refused at connect"), Level.LIMITED, "refused at connect; echo"),
    ],
)
def test_a_host_in_words(reading: HostReading, level: Level, says: str) -> None:
    """What was measured, or why nothing was; and the check that shows more."""
    finding = found((reading,))["host h1:443 over IPv4"]
    assert finding.level is level
    assert says in finding.says
    if level is Level.LIMITED:
        assert finding.fix == "soundings probe check tcp://h1:443 --family 4 --explain"


def test_the_coordinator_has_its_own_line() -> None:
    """It is compared like any other host and not told twice."""
    door = host(1, 20, 20)
    assert [finding.name for finding in find_ways((door,), (), named_elsewhere=door)] == ["way out"]


WAY = WayReading(family=4, own="9.9.9.1", interface="eth0", mtu=1500, link_type=1)


@pytest.mark.parametrize(
    ("changes", "level", "says"),
    [
        ({}, Level.OK, "eth0, MTU 1500"),
        ({"mtu": None}, Level.OK, "eth0"),
        ({"mtu": 1420}, Level.LIMITED, "MTU 1420, below 1500"),
        ({"link_type": 65534, "mtu": 1420}, Level.LIMITED, "WireGuard"),
        ({"link_type": 512, "mtu": None}, Level.LIMITED, "PPP"),
        ({"link_type": None}, Level.OK, "eth0"),
    ],
)
def test_the_interface(changes: dict[str, Any], level: Level, says: str) -> None:
    """A tunnel is known by its type, an overlay by its MTU."""
    finding = found((), (replace(WAY, **changes),))["interface for IPv4"]
    assert (finding.level, says in finding.says) == (level, True)


@pytest.mark.parametrize(
    ("own", "level", "says"),
    [
        ("9.9.9.1", Level.OK, "9.9.9.1, public"),
        ("10.0.0.5", Level.OK, "10.0.0.5 is private: translated on the way (NAT)"),
        ("100.64.0.9", Level.LIMITED, "carrier-grade NAT"),
    ],
)
def test_the_own_address(own: str, level: Level, says: str) -> None:
    """Public, translated, or shared with strangers."""
    finding = found((), (replace(WAY, own=own),))["address for IPv4"]
    assert (finding.level, says in finding.says) == (level, True)


@pytest.mark.parametrize(
    ("own", "seen", "level", "says"),
    [
        ("9.9.9.1", "9.9.9.1", Level.OK, "9.9.9.1, public; the coordinator sees the same"),
        (
            "9.9.9.1",
            "9.9.9.2",
            Level.LIMITED,
            "the coordinator sees 9.9.9.2, this host has 9.9.9.1",
        ),
        ("10.0.0.5", "9.9.9.2", Level.OK, "behind NAT: the coordinator sees 9.9.9.2"),
        ("10.0.0.5", "10.0.0.5", Level.OK, "10.0.0.5 is private; the coordinator sees the same"),
        ("100.64.0.9", "9.9.9.2", Level.LIMITED, "behind NAT: the coordinator sees 9.9.9.2"),
    ],
)
def test_the_address_that_the_coordinator_sees(
    own: str, seen: str, level: Level, says: str
) -> None:
    """What the other end saw is better than a guess by the own address."""
    sighting = Sighting(own, seen)
    finding = found((), (replace(WAY, own=own),), sighting=sighting)["address for IPv4"]
    assert (finding.level, says in finding.says) == (level, True)
    elsewhere = found((), (replace(WAY, own="9.9.9.3"),), sighting=sighting)["address for IPv4"]
    assert elsewhere.says == "9.9.9.3, public"


def test_without_a_route_nothing_is_said_of_the_way() -> None:
    """That the family is not here has its own line."""
    away = WayReading(family=6, own=None, interface=None, mtu=None, link_type=None)
    assert found((), (away,)) == {}


SIX = WayReading(family=6, own="2620:fe::1", interface="eth0", mtu=1500, link_type=1)
SILENT = (host(1, None, None, family=6), host(2, None, None, family=6), host(3, 20, 20))


@pytest.mark.parametrize(
    ("changes", "says", "fix"),
    [
        ({}, "none of 2 hosts; loopback and route are there; dropped on the way", "ip -6 neigh"),
        ({"received": 9, "delivered": 9}, "dropped on the way", "ip -6 neigh"),
        (
            {"received": 9, "delivered": 2},
            "9 packets arrived and 2 were delivered: a firewall of this machine",
            "nft list ruleset",
        ),
        ({"received": 1, "delivered": 0}, "dropped on the way", "ip -6 neigh"),
        ({"received": 7, "delivered": 2}, "dropped on the way", "ip -6 neigh"),
        ({"received": None, "delivered": 2}, "dropped on the way", "ip -6 neigh"),
        ({"received": 2}, "dropped on the way", "ip -6 neigh"),
        (
            {"gateway": "fe80::1", "gateway_answers": True},
            "the gateway fe80::1 answers",
            "provider",
        ),
        ({"gateway": "fe80::1", "gateway_answers": False}, "fe80::1 does not", "provider"),
        ({"gateway": "fe80::1"}, "there; dropped on the way", "provider"),
        ({"loopback": False}, "not even loopback answers over IPv6", "nft list ruleset"),
    ],
)
def test_a_family_that_hears_nothing(changes: dict[str, Any], says: str, fix: str) -> None:
    """It is broken, and whether this machine drops it or the way is told by the kernel's counters."""
    finding = found(SILENT, (replace(SIX, **changes),))["answers over IPv6"]
    assert finding.level is Level.BROKEN
    assert says in finding.says
    assert fix in finding.fix


def test_a_family_that_hears_something() -> None:
    """One answer of any kind is enough; hosts that were not contacted are not counted."""
    hosts = (*SILENT, host(4, None, 20, family=6), host(5, None, None, family=6, tried=False))
    finding = found(hosts, (SIX,))["answers over IPv6"]
    assert (finding.level, finding.says) == (Level.OK, "1 of 3 hosts")
