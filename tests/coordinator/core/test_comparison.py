"""Who traces beside a failing vantage, and how seldom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.comparison import (
    MINUTE_US,
    PAUSE_US,
    PER_MINUTE_MAX,
    PER_PROBE_MAX,
    Ration,
    Standing,
    choose,
    spread,
)


def standing(probe_id: str, asn: int | None, *, is_good: bool = True) -> Standing:
    """A connected vantage."""
    return Standing(probe_id=probe_id, asn=asn, is_good=is_good)


@pytest.mark.parametrize("turn", [0.0, 0.5, 0.999])
def test_a_working_vantage_of_another_as_is_chosen(turn: float) -> None:
    """Neither one that fails too, nor a neighbour, nor one of whom nobody knows where it sits."""
    among = [standing("a", 1), standing("b", 2, is_good=False), standing("c", None)]
    assert choose(among, failing_asn=1, turn=turn) is None
    assert choose([*among, standing("d", 2)], failing_asn=1, turn=turn) == "d"
    assert choose([*among, standing("d", 2)], failing_asn=None, turn=turn) is None


def test_chance_decides_among_many() -> None:
    """The whole span of turns covers all that are fit."""
    among = [standing(name, 2) for name in "abc"]
    chosen = [choose(among, failing_asn=1, turn=n / 3) for n in range(3)]
    assert chosen == ["a", "b", "c"]


def admitted(ration: Ration, check_no: int, probe_id: str, now_us: int) -> bool:
    """Ask, and spend where one may."""
    may = ration.may(check_no, probe_id=probe_id, now_us=now_us)
    if may:
        ration.spend(check_no, probe_id=probe_id, now_us=now_us)
    return may


def test_one_check_is_compared_once_in_a_while() -> None:
    """A second failure within the pause asks nobody, whoever tells of it."""
    ration = Ration()
    at_us = [0, PAUSE_US - 1, PAUSE_US]
    assert [admitted(ration, 1, f"p{at}", at) for at in at_us] == [True, False, True]


def test_a_failure_that_nobody_could_compare_costs_nothing() -> None:
    """Only who was asked counts."""
    ration = Ration()
    assert all(ration.may(1, probe_id="p", now_us=0) for _ in range(99))


def test_one_probe_takes_nothing_from_the_others() -> None:
    """However many checks it says are failing."""
    ration = Ration()
    assert sum(admitted(ration, no, "liar", 0) for no in range(99)) == PER_PROBE_MAX
    assert admitted(ration, 1000, "honest", 0)


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from("abcd"), st.integers(0, MINUTE_US)),
        max_size=80,
    )
)
def test_no_minute_sees_more_than_its_share(asked: list[tuple[int, str, int]]) -> None:
    """Whatever fails, and however much of it."""
    ration, now_us, admissions = Ration(), 0, []
    for check_no, probe_id, later_us in asked:
        now_us += later_us // 8
        if admitted(ration, check_no, probe_id, now_us):
            admissions.append(now_us)
    assert all(
        sum(at <= other < at + MINUTE_US for other in admissions) <= PER_MINUTE_MAX
        for at in admissions
    )


def test_a_few_of_many_sit_in_many_networks() -> None:
    """One of each AS before the second of any."""
    fleet = [standing(f"p{n}", n // 10) for n in range(40)]
    first = spread(fleet)[:4]
    assert first == ["p0", "p10", "p20", "p30"]
    assert sorted(spread(fleet)) == sorted(one.probe_id for one in fleet)
