"""The slot grid that both ends share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proto.slots import first_slot_us, phase_us


@given(st.text(max_size=20), st.integers(0, 2**32), st.integers(1, 10**12))
def test_phase_lies_in_the_interval(probe_id: str, check_no: int, interval_us: int) -> None:
    """A phase is a place within the interval, the same whenever it is asked for."""
    phase = phase_us(probe_id, check_no, interval_us)
    assert 0 <= phase < interval_us
    assert phase == phase_us(probe_id, check_no, interval_us)


@given(st.integers(0, 2**52), st.integers(1, 10**10), st.integers(0, 10**10))
def test_first_slot_is_the_next_on_the_grid(after: int, interval_us: int, phase: int) -> None:
    """The first slot is not before the instant, less than one interval later, and on the grid."""
    phase %= interval_us
    slot = first_slot_us(after, interval_us=interval_us, phase=phase)
    assert after <= slot < after + interval_us
    assert slot % interval_us == phase


def test_a_fleet_is_spread_over_the_interval() -> None:
    """Of 1,000 probes no tenth of the interval gets twice its share."""
    tenths = [phase_us(f"probe-{i}", 1, 1_000_000) // 100_000 for i in range(1000)]
    assert max(tenths.count(tenth) for tenth in range(10)) < 200
