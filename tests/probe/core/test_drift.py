from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from probe.core.drift import BIN_US, BINS, KNOWN_PPB, WILD_PPB, Drift, DriftFilter

exchanges_st = st.lists(
    st.tuples(st.integers(1_000_000, 300_000_000), st.integers(0, 200_000), st.floats(-1, 1)),
    min_size=1,
    max_size=200,
)


@given(true_ppb=st.integers(-1_000_000, 1_000_000), exchanges=exchanges_st)
def test_the_drift_is_right_within_its_bound(
    true_ppb: int, exchanges: list[tuple[int, int, float]]
) -> None:
    """However the path treats each exchange, the truth lies within what is stated."""
    drifts = DriftFilter()
    for mono_us, (_, error_us, side) in zip(
        accumulate(nap_us for nap_us, _, _ in exchanges), exchanges, strict=True
    ):
        truth_us = 7_000_000 - true_ppb * mono_us / 1e9
        # The error is rounded up with the offset, as the clock filter does.
        drifts.add(
            offset_us=round(truth_us + side * error_us), error_us=error_us + 1, mono_us=mono_us
        )
        drift = drifts.drift()
        if drift is not None:
            assert abs(drift.ppb - true_ppb) <= drift.error_ppb + 1
            assert drift.error_ppb <= KNOWN_PPB


def after(minutes: int, *, error_us: int, ppb: int = 20_000) -> Drift | None:
    """What is known after some minutes of steady exchanges, four a minute."""
    drifts = DriftFilter()
    for quarter in range(4 * minutes):
        at_us = quarter * BIN_US // 4
        drifts.add(offset_us=-ppb * at_us // 10**9, error_us=error_us, mono_us=at_us)
    return drifts.drift()


def test_the_drift_is_known_sooner_on_a_shorter_path() -> None:
    """Minutes next door, an hour across the world, never by satellite; unknown is None."""
    assert after(1, error_us=100) is None
    near = after(3, error_us=500)
    assert near is not None
    assert abs(near.ppb - 20_000) <= 20
    assert after(30, error_us=50_000) is None
    assert after(60, error_us=50_000) is not None
    assert after(10 * BINS, error_us=300_000) is None


def test_the_best_exchange_of_a_minute_counts() -> None:
    """One that queued says less, whichever came first."""
    drifts = DriftFilter()
    for minute in range(5):
        for second, error_us in ((1, 400_000), (2, 100), (3, 400_000)):
            at_us = minute * BIN_US + second * 1_000_000
            drifts.add(offset_us=error_us, error_us=error_us, mono_us=at_us)
    drift = drifts.drift()
    assert drift is not None
    assert drift.ppb == 0


def test_across_a_step_nothing_is_known() -> None:
    """The line begins again."""
    drifts = DriftFilter()
    for minute in range(5):
        drifts.add(offset_us=0, error_us=10, mono_us=minute * BIN_US)
    assert drifts.drift() is not None
    drifts.clear()
    assert drifts.drift() is None


def test_wild_is_what_no_sound_clock_does() -> None:
    """Certainly beyond 100 ppm, either way."""
    assert Drift(ppb=-WILD_PPB - 101, error_ppb=100).wild
    assert Drift(ppb=WILD_PPB + 101, error_ppb=100).wild
    assert not Drift(ppb=WILD_PPB + 100, error_ppb=100).wild
