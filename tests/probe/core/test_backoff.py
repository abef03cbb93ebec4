from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probe.core.backoff import BASE_S, CAP_S, RETRY_AFTER_CAP_S, delay_s, told_delay_s

chance_st = st.floats(0, 1, exclude_max=True)


@given(failures=st.integers(1, 10_000), chance=chance_st)
def test_the_wait_stays_below_its_cap(failures: int, chance: float) -> None:
    """No number of failures makes the probe wait longer than the cap."""
    assert 0 <= delay_s(failures, base_s=BASE_S, cap_s=CAP_S, chance=chance) <= CAP_S


def test_the_bound_doubles_from_the_base() -> None:
    """With the worst chance the waits are 2, 4, 8 ... s until the cap."""
    waits = [delay_s(n, base_s=2, cap_s=60, chance=1) for n in range(1, 8)]
    assert waits == [2, 4, 8, 16, 32, 60, 60]


@given(told=st.floats(-10, 10**6), chance=chance_st)
def test_a_named_time_is_honoured_and_spread(told: float, chance: float) -> None:
    """Nobody comes earlier than told, nor later than half as much again, nor after hours."""
    wish = min(max(told, 0), RETRY_AFTER_CAP_S)
    assert wish <= told_delay_s(told, chance=chance) <= wish * 1.5
