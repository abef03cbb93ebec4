"""When spans fall due, as laws over any order of arrival."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.watermark import (
    Arrival,
    Due,
    Stage,
    Watermarks,
    due_spans,
    listened_spans,
    span_start,
    stage_at,
)

MARKS = Watermarks(width_us=60, provisional_us=90, revised_us=900, final_us=1200)
ROWS = st.lists(
    st.tuples(st.integers(0, 299), st.integers(0, 1500)).map(lambda p: (p[0], p[0] + p[1])),
    max_size=20,
)
STEPS = st.integers(9, 97)
LAW = settings(max_examples=40, deadline=None)


def _arrived(rows: list[tuple[int, int]], now: int, answered: dict[int, int]) -> dict[int, Arrival]:
    """What a store would say at `now` of rows given as (slot, received)."""
    found: dict[int, list[int]] = {}
    for slot, received in rows:
        if received <= now:
            found.setdefault(span_start(slot, MARKS.width_us), []).append(received)
    return {
        start: Arrival(
            rows=len(stamps),
            newest_us=max(stamps),
            waiting_since_us=sorted(stamps)[min(answered.get(start, 0), len(stamps) - 1)],
        )
        for start, stamps in found.items()
    }


def _live(rows: list[tuple[int, int]], *, step: int, until: int) -> list[tuple[int, Due, int]]:
    """Run the loop of a coordinator: (now, what was due, rows that the answer rests on)."""
    answered: dict[int, int] = {}
    answers = []
    for now in range(0, until, step):
        arrived = _arrived(rows, now, answered)
        candidates = (*listened_spans(0, now, MARKS), *arrived)
        for due in due_spans(
            candidates, arrived=arrived, answered=answered, marks=MARKS, now_us=now
        ):
            answered[due.start_us] = arrived[due.start_us].rows if due.start_us in arrived else 0
            answers.append((now, due, answered[due.start_us]))
    return answers


@given(rows=ROWS, step=STEPS)
@LAW
def test_every_span_is_answered_first_exactly_once(rows: list[tuple[int, int]], step: int) -> None:
    """However rows come, each listened span has one first answer, and it is no earlier than due."""
    answers = _live(rows, step=step, until=2500)
    firsts = Counter(due.start_us for _, due, _ in answers if not due.again)
    assert set(firsts.values()) == {1}
    assert set(firsts) == set(range(0, max(firsts) + 1, MARKS.width_us))
    assert all(now >= due.end_us + MARKS.provisional_us for now, due, _ in answers)


@given(rows=ROWS, step=STEPS)
@LAW
def test_the_last_answer_rests_on_every_row(rows: list[tuple[int, int]], step: int) -> None:
    """Late rows always lead to an answer that counts them, within the provisional watermark."""
    until = 1800 + MARKS.provisional_us + 2 * step + 60 + 90
    last = {due.start_us: count for _, due, count in _live(rows, step=step, until=until)}
    wanted = Counter(span_start(slot, MARKS.width_us) for slot, _ in rows)
    assert {start: last[start] for start in wanted} == dict(wanted)


@given(rows=ROWS, step=STEPS)
@LAW
def test_a_new_answer_always_rests_on_more(rows: list[tuple[int, int]], step: int) -> None:
    """Nothing is answered again unless rows came: the counts of a span's answers only grow."""
    seen: dict[int, int] = {}
    for _, due, count in _live(rows, step=step, until=2500):
        assert due.again == (due.start_us in seen)
        if due.again:
            assert count > seen[due.start_us]
        seen[due.start_us] = count


def test_a_burst_of_late_rows_makes_one_new_answer() -> None:
    """Ten late reports within the settling time lead to one revision, not ten."""
    rows = [(5, 400 + n) for n in range(10)]
    answers = [due for _, due, _ in _live(rows, step=2, until=1000) if due.again]
    assert [due.start_us for due in answers] == [0]


def test_a_trickle_cannot_hold_an_answer_back() -> None:
    """Rows that never settle are answered after one provisional watermark all the same."""
    rows = [(5, 400 + 10 * n) for n in range(30)]
    answers = [now for now, due, _ in _live(rows, step=2, until=2000) if due.again]
    assert answers == [490, 590, 690]


def test_the_newest_span_comes_first() -> None:
    """A backlog never delays the present."""
    due = due_spans([0, 60, 120], arrived={}, answered={}, marks=MARKS, now_us=400)
    assert [one.start_us for one in due] == [120, 60, 0]


def test_stages_follow_the_age_of_the_span() -> None:
    """Too early, provisional, revised, final: by the time since the end of the span."""
    ages = (89, 90, 899, 900, 1199, 1200)
    assert [stage_at(60 + age, 60, MARKS) for age in ages] == [
        None,
        Stage.PROVISIONAL,
        Stage.PROVISIONAL,
        Stage.REVISED,
        Stage.REVISED,
        Stage.FINAL,
    ]


def test_rows_after_the_final_watermark_still_count() -> None:
    """A row that comes a day late makes a new answer, in the final stage."""
    arrived = {0: Arrival(rows=3, newest_us=9000, waiting_since_us=9000)}
    due = due_spans([0], arrived=arrived, answered={0: 2}, marks=MARKS, now_us=9060)
    assert due == (Due(start_us=0, end_us=60, stage=Stage.FINAL, again=True),)


def test_only_whole_spans_were_listened_to() -> None:
    """The span in which listening began is not judged for its silence."""
    assert list(listened_spans(30, 300, MARKS)) == [60, 120]
    assert list(listened_spans(60, 300, MARKS)) == [60, 120]
    assert list(listened_spans(250, 300, MARKS)) == []
