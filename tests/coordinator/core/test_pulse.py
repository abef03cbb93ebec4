"""When work that does not end is told."""

from __future__ import annotations

import pytest

from coordinator.core.pulse import STALL_S, Work, stall_of


@pytest.mark.parametrize("work", [None, Work("a commit", 100.0)], ids=["idle", "young"])
def test_idle_and_young_work_is_no_stall(work: Work | None) -> None:
    """Nothing to do is well for ever, and work up to the limit."""
    assert stall_of(work, now_s=100.0 + STALL_S - 0.001) is None


def test_work_that_does_not_end_is_told_with_what_and_how_long() -> None:
    """From the limit on the sentence names the work, its age and what probes do."""
    told = stall_of(Work("a commit", 100.0), now_s=107.2)
    assert told is not None
    assert told.startswith("a commit has taken 7 s and is not done: the disk stands still")
    assert stall_of(Work("a commit", 100.0), now_s=100.0 + STALL_S) is not None
