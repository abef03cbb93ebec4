"""How often somebody may ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.allowance import Allowance, Rate

SECOND_US = 1_000_000
RATE = Rate(burst=3, per_s=0.5)


def test_a_burst_is_had_at_once_and_the_rest_by_and_by() -> None:
    """Three, then one every two seconds, and never more than three for having waited."""
    allowance = Allowance(RATE)
    assert [allowance.may("a", now_us=0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.may("a", now_us=2 * SECOND_US - 1)
    assert allowance.may("a", now_us=2 * SECOND_US)
    later = 3600 * SECOND_US
    assert [allowance.may("a", now_us=later) for _ in range(4)] == [True, True, True, False]


def test_nobody_pays_for_another() -> None:
    """Each asker has a bucket; looking takes nothing."""
    allowance = Allowance(Rate(burst=1, per_s=1.0))
    assert not allowance.is_spent("a", now_us=0)
    assert allowance.may("a", now_us=0)
    assert allowance.is_spent("a", now_us=0)
    assert allowance.may("b", now_us=0)


def test_no_more_askers_are_kept_than_may_be() -> None:
    """Whoever asked longest ago is forgotten."""
    allowance = Allowance(Rate(burst=1, per_s=1.0), askers_max=2)
    for who in "abac":
        allowance.may(who, now_us=0)
    assert [allowance.is_spent(who, now_us=0) for who in "abc"] == [False, True, True]


@given(
    st.lists(st.integers(-5 * SECOND_US, 5 * SECOND_US), max_size=60),
    st.integers(1, 5),
    st.floats(0.1, 5),
)
def test_no_clock_gives_more_than_the_rate(steps: list[int], burst: int, per_s: float) -> None:
    """Whatever the clock does, what is had is the burst and what grew while it went forward."""
    allowance = Allowance(Rate(burst=burst, per_s=per_s))
    now_us = forward_us = had = 0
    for step_us in steps:
        now_us += step_us
        forward_us += max(0, step_us)
        had += allowance.may("a", now_us=now_us)
    assert had <= burst + forward_us * per_s / SECOND_US + 1e-6
