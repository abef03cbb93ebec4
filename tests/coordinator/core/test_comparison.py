"""Who traces beside a failing vantage, and how seldom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.comparison import (
    MINUTE_US,
    PAUSE_US,
    PER_MINUTE_MAX,
    Ration,
    Standing,
    choose,
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


def test_one_check_is_compared_once_in_a_while() -> None:
    """A second failure within the pause asks nobody."""
    ration = Ration()
    at_us = [0, PAUSE_US - 1, PAUSE_US]
    assert [ration.admit(1, now_us=at) for at in at_us] == [True, False, True]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, MINUTE_US)), max_size=80))
def test_no_minute_sees_more_than_its_share(asked: list[tuple[int, int]]) -> None:
    """Whatever fails, and however much of it."""
    ration, now_us, admitted = Ration(), 0, []
    for check_no, later_us in asked:
        now_us += later_us // 8
        if ration.admit(check_no, now_us=now_us):
            admitted.append(now_us)
    assert all(
        sum(at <= other < at + MINUTE_US for other in admitted) <= PER_MINUTE_MAX for at in admitted
    )
