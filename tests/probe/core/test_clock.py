from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probe.core.clock import HOLD_US, ClockEstimate, ClockFilter, ClockSample, Timeline
from tests.fakes.ledgers import START_US


def sample(*, offset_us: int, there_us: int, back_us: int) -> ClockSample:
    """An exchange with a coordinator that is `offset_us` ahead."""
    t1_ns = START_US * 1000
    t2_ns = t1_ns + (there_us + offset_us) * 1000
    return ClockSample(
        t1_ns=t1_ns, t2_ns=t2_ns, t3_ns=t2_ns + 5_000, t4_ns=t1_ns + (there_us + back_us + 5) * 1000
    )


@given(
    offset_us=st.integers(-(10**9), 10**9),
    there_us=st.integers(0, 10**6),
    back_us=st.integers(0, 10**6),
)
def test_the_offset_is_right_within_half_the_delay(
    offset_us: int, there_us: int, back_us: int
) -> None:
    """Whatever the asymmetry of the path, the truth lies within the stated bound."""
    clocks = ClockFilter()
    assert clocks.add(sample(offset_us=offset_us, there_us=there_us, back_us=back_us), mono_us=0)
    estimate = clocks.estimate(mono_us=0)
    assert estimate is not None
    assert abs(estimate.offset_us - offset_us) <= estimate.error_us


def test_the_quickest_of_eight_exchanges_counts() -> None:
    """Queueing only adds delay, so the sample with the least delay is the best."""
    clocks = ClockFilter()
    for delay_us in (9000, 100, 7000, 8000):
        clocks.add(sample(offset_us=50, there_us=delay_us, back_us=0), mono_us=0)
    estimate = clocks.estimate(mono_us=0)
    assert estimate is not None
    assert estimate.error_us <= 52
    for _ in range(8):
        clocks.add(sample(offset_us=50, there_us=9000, back_us=0), mono_us=0)
    later = clocks.estimate(mono_us=0)
    assert later is not None
    assert later.error_us > 4000


def test_an_old_estimate_gets_a_wider_bound() -> None:
    """A quartz drifts: after an hour 50 ppm are 180 ms."""
    clocks = ClockFilter()
    clocks.add(sample(offset_us=0, there_us=10, back_us=10), mono_us=0)
    aged = clocks.estimate(mono_us=3_600_000_000)
    assert aged is not None
    assert aged.error_us >= 180_000


def test_an_answer_that_left_before_its_question_came_is_refused() -> None:
    """Its delay would be longer than the time that passed here, by whatever the peer likes."""
    t1_ns = START_US * 1000
    lie = ClockSample(t1_ns=t1_ns, t2_ns=t1_ns + 10**15, t3_ns=t1_ns, t4_ns=t1_ns + 10**6)
    assert lie.error_us > 10**8
    assert not ClockFilter().add(lie, mono_us=0)


def test_a_sample_that_contradicts_itself_is_refused() -> None:
    """A negative delay means that a clock stepped in mid-flight."""
    clocks = ClockFilter()
    assert not clocks.add(sample(offset_us=0, there_us=-100, back_us=0), mono_us=0)
    assert clocks.estimate(mono_us=0) is None


def test_after_clear_nothing_is_known() -> None:
    """No estimate is None, never 0."""
    clocks = ClockFilter()
    clocks.add(sample(offset_us=0, there_us=1, back_us=1), mono_us=0)
    clocks.clear()
    assert clocks.estimate(mono_us=0) is None


def test_an_offset_beyond_its_bound_is_suspect() -> None:
    """Ten minutes off is suspect; 90 ms, or anything within a wide bound, is not."""
    assert ClockEstimate(offset_us=-600_000_000, error_us=1000).suspect
    assert not ClockEstimate(offset_us=90_000, error_us=0).suspect
    assert not ClockEstimate(offset_us=400_000, error_us=400_000).suspect


def test_steady_clocks_show_no_jump() -> None:
    """Both clocks running together mean elapsed time and nothing else."""
    timeline = Timeline(wall_us=START_US, mono_us=0)
    reading = timeline.read(wall_us=START_US + 5_000_000, mono_us=5_000_000)
    assert (reading.now_us, reading.jump_us, reading.era) == (START_US + 5_000_000, 0, 0)


def test_a_step_forward_is_told() -> None:
    """A suspend of ten minutes shows as a jump of ten minutes."""
    timeline = Timeline(wall_us=START_US, mono_us=0)
    reading = timeline.read(wall_us=START_US + 601_000_000, mono_us=1_000_000)
    assert (reading.jump_us, reading.era) == (600_000_000, 0)


def test_a_small_step_back_is_waited_out() -> None:
    """The schedule's time stands still until the wall clock has caught up."""
    timeline = Timeline(wall_us=START_US, mono_us=0)
    back = timeline.read(wall_us=START_US - 1_000_000, mono_us=0)
    assert (back.now_us, back.jump_us, back.era) == (START_US, -1_000_000, 0)
    later = timeline.read(wall_us=START_US + 1, mono_us=1_000_001)
    assert (later.now_us, later.jump_us) == (START_US + 1, 0)


def test_a_large_step_back_opens_an_era() -> None:
    """Ten minutes back must not blind the probe for ten minutes."""
    timeline = Timeline(wall_us=START_US, mono_us=0)
    reading = timeline.read(wall_us=START_US - 600_000_000, mono_us=0)
    assert (reading.now_us, reading.era) == (START_US - 600_000_000, 1)


steps_st = st.lists(st.tuples(st.integers(0, 10**7), st.integers(-(10**7), 10**7)), max_size=20)


@given(steps=steps_st)
def test_time_is_monotone_within_an_era(steps: list[tuple[int, int]]) -> None:
    """Whatever the wall clock does, the schedule's time runs backwards only with a new era."""
    wall_us, mono_us = START_US, 0
    timeline = Timeline(wall_us=wall_us, mono_us=mono_us)
    before = timeline.read(wall_us=wall_us, mono_us=mono_us)
    for elapsed_us, step_us in steps:
        wall_us, mono_us = wall_us + elapsed_us + step_us, mono_us + elapsed_us
        after = timeline.read(wall_us=wall_us, mono_us=mono_us)
        assert after.era > before.era or after.now_us >= before.now_us
        assert 0 <= after.now_us - wall_us <= HOLD_US
        before = after
