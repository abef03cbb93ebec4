"""Which spans of time are due at `now`: to be counted, to be judged, and to be judged again.

Rows arrive late: a probe flushes every few seconds, a cut-off probe sends its spool an hour later.
Waiting for the last row would never say anything, and judging at once would say it of half the
rows. So every span (a bin that is counted, a window of bins that is judged) is taken up first when
its end lies one watermark back, whatever came; the answer then is provisional. Rows that come
later make the span due again and lead to one more answer, which stands beside the earlier one.

What is compared is the number of rows that exist with the number that the last answer rests on.
Rows are only ever added, so two numbers say all: no clock of a probe and no order of arrival
enters. Late rows come in bursts (a spool is emptied over many reports), therefore a span waits
until its rows have settled, but never longer than the watermark itself, so that a trickle without
end cannot hold an answer back.

The age of a span when it is answered names the answer: provisional, then revised, then final. A
watermark that passes while nothing came writes nothing: the earlier answer still holds. Rows after
the final watermark still lead to a new answer.

All stamps are microseconds since 1970-01-01 UTC; a span is named by its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

# A burst of late reports is over when none came for this long. Reports of a backlog follow one
# another within the round trip of an acknowledgement, which is far below it.
SETTLE_LIMIT_US = 10_000_000


class Stage(StrEnum):
    """How long rows could come in before the answer was given."""

    PROVISIONAL = "provisional"
    REVISED = "revised"
    FINAL = "final"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermarks:
    """Width of a span and how long after its end each stage begins, in microseconds."""

    width_us: int
    provisional_us: int
    revised_us: int
    final_us: int

    @property
    def settle_us(self) -> int:
        """How long late rows must have been quiet before they are answered."""
        return min(self.width_us, SETTLE_LIMIT_US)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What lies in the store for one span.

    `waiting_since_us` is the arrival of the oldest row that no answer rests on yet.
    """

    rows: int
    newest_us: int
    waiting_since_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One span to answer now: the first time, or again because rows came late."""

    start_us: int
    end_us: int
    stage: Stage
    again: bool


def span_start(at_us: int, width_us: int) -> int:
    """The start of the span that holds an instant; spans are aligned to 1970-01-01 UTC."""
    return at_us - at_us % width_us


def stage_at(now_us: int, end_us: int, marks: Watermarks) -> Stage | None:
    """The stage of an answer given now for a span that ended at `end_us`; None = too early."""
    age_us = now_us - end_us
    if age_us < marks.provisional_us:
        return None
    if age_us < marks.revised_us:
        return Stage.PROVISIONAL
    return Stage.REVISED if age_us < marks.final_us else Stage.FINAL


def listened_spans(since_us: int, now_us: int, marks: Watermarks) -> range:
    """Starts of the spans that lie wholly after `since_us` and are old enough to be answered.

    They are due even if no row came: that nobody reported, while somebody listened, is a fact.
    """
    first = span_start(since_us + marks.width_us - 1, marks.width_us)
    newest_end = now_us - marks.provisional_us
    return range(first, span_start(newest_end, marks.width_us), marks.width_us)


def due_spans(
    candidates: Iterable[int],
    *,
    arrived: Mapping[int, Arrival],
    answered: Mapping[int, int],
    marks: Watermarks,
    now_us: int,
) -> tuple[Due, ...]:
    """The spans to answer now, newest first, so that a backlog never delays the present.

    `candidates` are span starts (doubles allowed); `answered` holds the number of rows that the
    last answer of a span rests on, and no key where there was none.
    """
    starts = sorted(set(candidates), reverse=True)
    found = (
        _due(start, arrived.get(start), answered.get(start), marks, now_us) for start in starts
    )
    return tuple(due for due in found if due is not None)


def _due(
    start_us: int, arrival: Arrival | None, answered: int | None, marks: Watermarks, now_us: int
) -> Due | None:
    end_us = start_us + marks.width_us
    stage = stage_at(now_us, end_us, marks)
    if stage is None:
        return None
    if answered is None:
        return Due(start_us=start_us, end_us=end_us, stage=stage, again=False)
    if arrival is None or arrival.rows <= answered or not _is_settled(arrival, marks, now_us):
        return None
    return Due(start_us=start_us, end_us=end_us, stage=stage, again=True)


def _is_settled(arrival: Arrival, marks: Watermarks, now_us: int) -> bool:
    quiet = now_us - arrival.newest_us >= marks.settle_us
    return quiet or now_us - arrival.waiting_since_us >= marks.provisional_us
