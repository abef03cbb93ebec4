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


def revised(verdict: Verdict, **changes: object) -> Verdict:
    """The same window, judged again a minute later."""
    later = verdict.as_of + timedelta(minutes=1)
    return replace(verdict, as_of=later, **changes)  # type: ignore[arg-type]


def test_an_incident_whose_only_window_is_taken_back_is_withdrawn() -> None:
    """A false alarm that late rows correct ends as no incident, and stays one."""
    known = fold([at(FAILING, 0)])
    (gone,) = fold([revised(at(HEALTHY, 0))], known)
    assert (gone.state, gone.revision, gone.verdicts) == ("withdrawn", 2, 0)
    assert gone.sentence.startswith("withdrawn: later rows did not bear it out")
    assert gone.to_json()["state"] == "withdrawn"
    assert fold([at(HEALTHY, start) for start in range(1, 12)], [gone]) == (gone,)


@pytest.mark.parametrize(
    "change", [{"verdict_class": C.UPSTREAM}, {"verdict_class": C.INSUFFICIENT}]
)
def test_a_window_that_says_something_else_supports_no_longer(change: dict[str, object]) -> None:
    """Another level or not knowing takes a window's support away as health does."""
    (first, *_) = fold([revised(at(FAILING, 0), **change)], fold([at(FAILING, 0)]))
    assert first.state == "withdrawn"


def test_a_withdrawn_incident_comes_back_under_its_name() -> None:
    """When the window turns out bad after all, the story goes on."""
    gone = fold([revised(at(HEALTHY, 0))], fold([at(FAILING, 0)]))
    (back,) = fold([at(FAILING, 0)], gone)
    assert (back.incident_id, back.state, back.revision) == (gone[0].incident_id, "open", 3)
    assert back.sentence == FAILING.sentence


def test_what_one_window_had_said_falls_with_it() -> None:
    """Onset, class and sentence are those of the windows that are left."""
    false = at(FAILING, 0, probability=0.999, sentence="false")
    known = fold([false, at(FAILING, 1, probability=0.9, sentence="true")])
    assert known[0].sentence == "false"
    (left,) = fold([revised(at(HEALTHY, 0))], known)
    assert (left.sentence, left.began, left.state) == ("true", minute(1), "open")
    assert left.revision == known[0].revision + 1
    level = at(FAILING, 1, onset=None, probability=0.9)
    silent = fold(
        [
            replace(level, probability=0.999, sentence="x"),
            at(FAILING, 0, onset=None, probability=0.9),
        ]
    )
    (reworded,) = fold([revised(at(HEALTHY, 1))], silent)
    assert reworded.revision == silent[0].revision + 1


def test_an_end_moves_back_to_what_still_supports_it() -> None:
    """Of an incident that has ended, the last window is taken back: it ended earlier."""
    known = fold([at(FAILING, 0), at(FAILING, 1), at(HEALTHY, 7)])
    (one,) = fold([revised(at(HEALTHY, 1))], known)
    assert one.end is not None
    assert (one.state, one.end.best) == ("ended", minute(2))


def test_the_order_of_revisions_decides_not_the_order_of_arrival() -> None:
    """Of two verdicts on one window in one fold, the one from more rows counts."""
    bad, well = at(FAILING, 0), revised(at(HEALTHY, 0))
    assert {one.state for one in fold([well, bad])} == {"withdrawn"}


def test_a_long_incident_remembers_a_day_of_windows() -> None:
    """What no row can revise any more is melted into one part and loses nothing."""
    (one,) = fold([at(FAILING, 2.0 * number) for number in range(1000)])
    assert one.verdicts == 1000
    assert one.began == minute(0)
    assert len(one.parts) < 730
