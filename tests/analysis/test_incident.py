"""Incidents: one story per fault, with one name, however often it is judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce

import pytest

from analysis.core.incident import Incident, fold
from analysis.core.judge import judge
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Interval, Verdict
from tests.fakes.faults import block_for

C = VerdictClass
HEALTHY = judge(block_for("healthy"), service="x", component="spaces")
FAILING = judge(block_for("overload"), service="x", component="spaces")
T0 = FAILING.window_from


def minute(number: float) -> datetime:
    return T0 + timedelta(minutes=number)


def at(verdict: Verdict, start: float, *, end: float | None = None, **changes: object) -> Verdict:
    """The verdict on the window [start, start + 2) minutes, with onset at its start."""
    faulty = verdict is not HEALTHY
    moved = replace(
        verdict,
        window_from=minute(start),
        window_to=minute(start + 2),
        onset=Interval(minute(start), minute(start), minute(start)) if faulty else None,
        end=None if end is None else Interval(minute(end), minute(end), minute(end)),
    )
    return replace(moved, **changes)  # type: ignore[arg-type]


def test_consecutive_windows_are_one_incident() -> None:
    """Overlapping verdicts of one level fold into one story with the earliest onset."""
    (one,) = fold([at(FAILING, 0), at(FAILING, 1), at(FAILING, 2)])
    assert one.onset is not None
    assert one.onset.best == minute(0)
    assert one.is_open
    assert one.verdicts == 3


def test_a_healthy_verdict_after_the_gap_ends_it() -> None:
    """Quiet for longer than the gap closes the incident where its last verdict stood."""
    (one,) = fold([at(FAILING, 0), at(HEALTHY, 4)])
    assert one.end is not None
    assert one.end.best == minute(2)
    assert one.to_json()["state"] == "ended"


def test_a_healthy_verdict_within_the_gap_ends_nothing() -> None:
    """One clean window amid a fault is a pause."""
    (one,) = fold([at(FAILING, 0), at(HEALTHY, 1)])
    assert one.is_open
    assert one.to_json()["end"] is None


def test_after_the_gap_another_one_begins() -> None:
    """The same fault an hour later has another name."""
    first, second = fold([at(FAILING, 0), at(FAILING, 60)])
    assert first.incident_id != second.incident_id


def test_an_unknown_verdict_neither_opens_nor_ends() -> None:
    """Not knowing is no news."""
    unknown = replace(at(HEALTHY, 9), verdict_class=C.INSUFFICIENT)
    assert fold([unknown]) == ()
    assert fold([at(FAILING, 0), unknown])[0].is_open


@pytest.mark.parametrize(
    "change",
    [{"component": "page"}, {"service": "y"}, {"scenario": "s"}, {"verdict_class": C.UPSTREAM}],
)
def test_other_things_and_other_levels_are_other_incidents(change: dict[str, object]) -> None:
    """Only the same thing failing on the same level is the same story."""
    assert len(fold([at(FAILING, 0), at(FAILING, 1, **change)])) == 2


def test_a_surer_verdict_rewords_the_story_and_counts_a_revision() -> None:
    """A sharper class on the same level replaces the blunter one under the same name."""
    vague = at(FAILING, 0, verdict_class=C.APPLICATION, probability=0.86, sentence="vague")
    (before,) = fold([vague])
    (after,) = fold([at(FAILING, 1, probability=0.99)], [before])
    assert after.incident_id == before.incident_id
    assert (after.verdict_class, after.revision) == (C.OVERLOAD, 2)
    (same,) = fold([vague], [after])
    assert same.verdict_class is C.OVERLOAD
    assert same.revision == 2


def test_a_verdict_that_ends_within_its_window_ends_the_incident() -> None:
    """The end of the last verdict is the incident's end."""
    (one,) = fold([at(FAILING, 0), at(FAILING, 1, end=2.5)])
    assert one.end is not None
    assert one.end.best == minute(2.5)


def test_two_halves_give_what_the_whole_gives() -> None:
    """Folding step by step with what is known equals folding all at once."""
    story = [at(FAILING, 0), at(FAILING, 1), at(HEALTHY, 6), at(FAILING, 30), at(FAILING, 31)]
    known: tuple[Incident, ...] = ()
    stepwise = reduce(lambda known, verdict: fold([verdict], known), story, known)
    assert stepwise == fold(story)


def test_verdicts_without_an_onset_are_dated_by_their_window() -> None:
    """A source-side story has no onset of the target; its window stands in."""
    (one,) = fold([at(FAILING, 0, onset=None), at(FAILING, 1, onset=None)])
    assert one.began == minute(0)
    assert one.to_json()["onset"] is None
    (dated,) = fold([at(FAILING, 1)], [one])
    assert dated.onset is not None
