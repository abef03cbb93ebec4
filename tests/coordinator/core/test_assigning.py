"""Who measures what: groups, places, ceilings, and how little a coming or going moves."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.assigning import (
    Allotment,
    Candidate,
    allot,
    components_of,
    fits,
    rank,
    requests_per_minute,
    services_of,
)
from coordinator.core.registry import ProbeState, Vantage
from coordinator.core.settings import Config, Group
from coordinator.core.validation import validate

SLOW = {"interval_s": 60}
COMPONENT = {"name": "web", "kinds": ["tcp", "http"], **SLOW}


def config(*groups: dict[str, object], ceiling: float = 3000) -> Config:
    """Two services on two hosts and an anchor on a third."""
    return validate(
        {
            "service": [
                {"name": "x", "component": [{**COMPONENT, "url": "https://x.test/"}]},
                {"name": "y", "component": [{**COMPONENT, "url": "https://y.test/"}]},
            ],
            "anchor": [{"name": "a", "url": "tcp://a.test:7", "kinds": ["tcp", "dns"], **SLOW}],
            "group": list(groups),
            "limits": {"fleet_per_target_per_minute": ceiling},
        },
        file="f",
    )


def candidate(name: str = "p", **changes: object) -> Candidate:
    """A probe of AS 64500 in Germany with both families."""
    return replace(
        Candidate(
            probe_id=name,
            vantage=Vantage(asn=64500, country="DE", labels={"tier": "vps", "more": "1"}),
            families=frozenset({4, 6}),
            capabilities=frozenset({"icmp4"}),
        ),
        **changes,  # type: ignore[arg-type]
    )


def fleet(count: int, *, networks: int = 3) -> list[Candidate]:
    """So many probes, spread over so many networks."""
    return [
        candidate(f"p{i}", vantage=Vantage(asn=64500 + i % networks, country="DE"))
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("asks", "fit"),
    [
        ({}, True),
        ({"labels": {"tier": "vps"}}, True),
        ({"labels": {"tier": "home"}}, False),
        ({"asns": (64500, 1)}, True),
        ({"asns": (1,)}, False),
        ({"countries": ("DE", "FR")}, True),
        ({"countries": ("FR",)}, False),
        ({"families": (6,)}, True),
        ({"capabilities": ("icmp4",)}, True),
        ({"capabilities": ("icmp4", "tx_stamps")}, False),
        ({"countries": ("DE",), "asns": (1,)}, False),
    ],
)
def test_a_probe_fits_when_it_is_all_that_the_group_names(
    asks: dict[str, object], fit: bool
) -> None:
    """Each key narrows, and what is not named is not asked for."""
    group = Group(name="g", services=("x",), **asks)  # type: ignore[arg-type]
    assert fits(group, candidate()) is fit


def test_what_is_not_known_of_a_probe_fits_no_wish_for_it() -> None:
    """No AS is not the AS asked for; a probe that said nothing has no family."""
    unknown = candidate(vantage=Vantage(), families=frozenset())
    assert not fits(Group(name="g", services=("x",), asns=(64500,)), unknown)
    assert not fits(Group(name="g", services=("x",), families=(4,)), unknown)


def test_every_group_that_a_probe_fits_gives_it_services() -> None:
    """Without groups it measures all; in none of them it measures the anchors alone."""
    both = config(
        {"name": "all", "services": ["x"]},
        {"name": "vps", "labels": {"tier": "vps"}, "services": ["y"]},
    )
    probe, other = candidate(), candidate("q", vantage=Vantage())
    assert services_of(probe, both, Allotment()) == frozenset({"x", "y"})
    assert services_of(other, both, Allotment()) == frozenset({"x"})
    assert services_of(probe, config(), Allotment()) is None
    only = config({"name": "home", "labels": {"tier": "home"}, "services": ["x"]})
    assert components_of(probe, only, Allotment()) == {("anchor", "a")}
    assert components_of(probe, config(), Allotment()) == {
        ("anchor", "a"),
        ("x", "web"),
        ("y", "web"),
    }


def test_places_are_spread_over_networks() -> None:
    """Four of thirty probes in three networks: no network has a second place before each has one."""
    few = config({"name": "few", "services": ["x"], "probes": 4})
    chosen = allot(few, fleet(30)).chosen["few"]
    assert len(chosen) == 4
    networks = Counter(int(name[1:]) % 3 for name in chosen)
    assert sorted(networks.values()) == [1, 1, 2]


def test_the_absent_and_the_doubted_give_way() -> None:
    """Places go to those who are here, then to the quarantined, and to the absent for want of others."""
    one, two = fleet(2, networks=1)
    few = config({"name": "few", "services": ["x"], "probes": 1})
    for state in ({"is_away": True}, {"state": ProbeState.QUARANTINED}):
        first = replace(rank([one, two])[0], **state)
        second = rank([one, two])[1]
        assert allot(few, [first, second]).chosen["few"] == {second.probe_id}
    absent = [replace(each, is_away=True) for each in (one, two)]
    assert len(allot(few, absent).chosen["few"]) == 1


def test_no_target_is_asked_more_often_by_the_fleet_than_it_may_be() -> None:
    """Two requests a minute each and ten allowed: five probes ask, the rest leave that host be."""
    of = config(ceiling=10)
    assert requests_per_minute(of, "x.test") == 2
    assert requests_per_minute(of, "a.test") == 1  # a query for its name goes to resolvers
    probes = fleet(12)
    allotment = allot(of, probes)
    assert {host: len(who) for host, who in allotment.spared.items()} == {
        "x.test": 7,
        "y.test": 7,
        "a.test": 2,
    }
    asking = [p for p in probes if ("x", "web") in components_of(p, of, allotment)]
    assert len(asking) == 5
    assert all(("y", "web") in components_of(p, of, allotment) for p in asking)
    assert all(("anchor", "a") in components_of(p, of, allotment) for p in asking)


def test_a_ceiling_counts_those_who_would_ask() -> None:
    """A probe whose groups lead it elsewhere takes no place at a target."""
    of = config(
        {"name": "few", "services": ["x"], "asns": [64500]},
        {"name": "rest", "services": ["y"], "asns": [64501, 64502]},
        ceiling=10,
    )
    spared = allot(of, fleet(12)).spared
    assert {host: len(who) for host, who in spared.items()} == {"y.test": 3, "a.test": 2}


def test_what_is_asked_on_failure_alone_spares_nobody() -> None:
    """A host that no schedule leads to has no ceiling to reach."""
    of = validate({"anchor": [{"name": "a", "url": "tcp://a.test:7", "kinds": ["dns"]}]}, file="f")
    assert requests_per_minute(of, "a.test") == 0
    assert allot(of, fleet(3)) == Allotment()


SIZES = st.integers(1, 40)


@given(SIZES, st.integers(1, 6), st.integers(1, 20), st.data())
def test_who_leaves_is_replaced_and_nobody_else_moves(
    count: int, networks: int, places: int, data: st.DataObject
) -> None:
    """Of those who stay, whoever had a place keeps it; at most one more gets one."""
    probes = fleet(count, networks=networks)
    group = config({"name": "few", "services": ["x"], "probes": places})
    before = allot(group, probes).chosen["few"]
    assert len(before) == min(places, count)
    gone = data.draw(st.sampled_from(probes))
    if data.draw(st.booleans()):
        rest = [one for one in probes if one is not gone]
    else:
        rest = [replace(one, is_away=one is gone) for one in probes]
    after = allot(group, rest).chosen["few"]
    assert before - {gone.probe_id} <= after
    assert len(after - before) <= 1


@given(st.permutations(fleet(12)))
def test_the_order_in_which_probes_are_told_does_not_matter(probes: list[Candidate]) -> None:
    """The same fleet has the same ranks on every machine."""
    assert rank(probes) == rank(fleet(12))
