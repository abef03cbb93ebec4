"""When something began and ended: signals, alarms, intervals."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.core.detect import Segment, alarms, cumulative, heaviest
from analysis.core.onset import locate_end, locate_onset
from tests.fakes.faults import block_for


def test_the_heaviest_run_is_found() -> None:
    """Kadane's run starts after the last time the sum fell to nothing."""
    assert heaviest(np.array([-1.0, 2.0, -0.5, 3.0, -9.0, 1.0])) == Segment(1, 3, 4.5)
    assert heaviest(np.array([-1.0, -2.0])) is None


def test_an_alarm_needs_agreement_over_bins() -> None:
    """The sum rises over the threshold or resets; the rise's first bin is kept."""
    assert cumulative(np.array([1.0, -5.0, 4.0, 4.0, 5.0]), 12.0) == (2, 4)
    assert cumulative(np.array([6.0, -1.0, 6.0]), 12.0) is None


def test_only_the_failing_component_raises_an_alarm() -> None:
    """Of five components of a service the overloaded one alarms, from its first bin on."""
    block = block_for("overload")
    found = alarms(block, service="x")
    assert [alarm.component for alarm in found] == ["spaces"]
    assert found[0].since == block.start
    assert found[0].until == block.end
    assert found[0].strength > 12


def test_a_quiet_service_raises_no_alarm() -> None:
    """Ordinary losses stay below the threshold."""
    assert alarms(block_for("healthy"), service="x") == ()


def test_extreme_groups_do_not_date_the_onset() -> None:
    """With five groups hit, one that claims an early start is set aside."""
    block = block_for("healthy")
    signal = np.full((6, block.bins), -1.0)
    signal[:5, 6:] = 2.0
    signal[0, 1] = 2.0
    hit = np.array([True] * 5 + [False])
    onset = locate_onset(block, signal, hit=hit, segment=Segment(1, block.bins - 1, 20.0))
    assert onset.best == block.at_bin(6)
    assert onset.low == block.at_bin(5)
    assert onset.high == block.at_bin(7)


def test_without_a_single_failing_bin_the_stretch_dates_the_onset() -> None:
    """When no group hit shows a failing bin, the stretch's first bin is all there is."""
    block = block_for("healthy")
    signal = np.full((2, block.bins), -1.0)
    segment = Segment(3, 4, 7.0)
    onset = locate_onset(block, signal, hit=np.array([True, False]), segment=segment)
    assert onset.best == block.at_bin(3)


@pytest.mark.parametrize(("quiet", "ended"), [(2, False), (3, True)])
def test_three_clean_bins_make_an_end(quiet: int, *, ended: bool) -> None:
    """Fewer than three clean bins after the last failing one are a pause."""
    block = block_for("healthy")
    last = block.bins - 1 - quiet
    end = locate_end(block, np.full(block.bins, -1.0), Segment(2, last, 9.0))
    assert (end is not None) is ended
    if end is not None:
        assert end.best == block.at_bin(last + 1)
