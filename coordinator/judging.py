"""Judging, live: closed bins are counted, closed windows are judged, late rows are judged again.

One loop, one step after the other: look which bins got rows; count those that are due (a short
call in the store's writer thread); judge the newest window that is fully counted (a long call in a
worker thread with a cursor of its own, so that ingest never waits for it); write the verdicts as
new revisions. A loop that is behind thereby judges the present first and the past in what time is
left.

Windows slide: one ends with every bin and reaches back over several, because one slot of each check
is too little to tell a fault from a lost packet, and because the judge looks inside the window for
the stretch that stands out. Late rows of a bin therefore revise every window that holds it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import structlog

from analysis.core.incident import Incident
from analysis.core.verdict import Verdict
from coordinator.core.revision import Subject
from coordinator.core.settings import Config
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
from coordinator.opinion import WindowAsked, judge_window
from coordinator.progress import Progress
from coordinator.store import rollup, serving
from coordinator.store.judgements import (
    Recorded,
    record_incidents,
    record_verdicts,
    unanswered_windows,
)
from coordinator.stories import Stories, forget, remembered, row_of, tell
from proto.model import Role

T = TypeVar("T")

SECOND_US: Final = 1_000_000

COMMIT_SLACK_US: Final = SECOND_US
"""Rows are stamped on receipt and committed within a group window: what came in the last second may
still be on its way into the store and is left to the next count."""

LOOK_BACK_US: Final = 60 * SECOND_US
"""Each look for new rows begins this long before the last one, for commits that took their
time: a slow disk may hold a group of reports for tens of seconds."""

RECOVER_US: Final = 3600 * SECOND_US
"""After a start, windows of the last hour that were counted and not judged are judged."""

WINDOW_BINS: Final = 5
"""Bins of a window at least: five slots of each check, and half of them still show an onset."""

WINDOW_ROUNDS: Final = 2
"""How often the slowest check of a subject comes round in a window at least."""

TRIES_MAX: Final = 3
"""Attempts at a window whose judging fails; a store that is being reopened needs one or two."""

STEP_S_MAX: Final = 1.0
"""Pause between looks when nothing is due; a quarter of a bin where bins are shorter."""


class Store(Protocol):
    """The part of the store's writer that judging uses."""

    async def run_in_store(self, fn: Callable[[Any], T]) -> T: ...
    def cursor(self) -> AbstractContextManager[Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What to judge, out of the configuration in force."""

    marks: Watermarks  # of a bin
    window_us: int  # a multiple of the bin
    subjects: tuple[Subject, ...]


def assign(config: Config) -> Assignment:
    """Every service and each of its subjects; windows wide enough for the slowest of them."""
    bin_us = config.judging.bin_s * SECOND_US
    marks = Watermarks(
        width_us=bin_us,
        provisional_us=config.judging.provisional_s * SECOND_US,
        revised_us=config.judging.revised_s * SECOND_US,
        final_us=config.judging.final_s * SECOND_US,
    )
    own = [
        (service.name, component)
        for service in config.services
        for component in service.components
        if component.role is Role.SUBJECT
    ]
    slowest_us = max((component.interval_s for _, component in own), default=0.0) * SECOND_US
    subjects = [Subject(service, component.name) for service, component in own]
    whole = [Subject(service.name, None) for service in config.services]
    return Assignment(
        marks=marks,
        window_us=bin_us * max(WINDOW_BINS, math.ceil(WINDOW_ROUNDS * slowest_us / bin_us)),
        subjects=(*whole, *subjects),
    )


@dataclass(slots=True)
class _Seen:
    """What the loop knows of bins; whatever is settled is forgotten and read back when touched."""

    since_us: int  # spans from here on are due even when they are empty
    looked_us: int
    arrived: dict[int, Arrival] = field(default_factory=dict)
    counted: dict[int, int] = field(default_factory=dict)
    windows: set[int] = field(default_factory=set)  # ends of windows to judge
    tries: dict[int, int] = field(default_factory=dict)  # windows that failed, how often
    counted_to_us: int | None = None  # what was received up to here is in the cells


class Judge:
    """The loop's state. `step` does one round and is all that a test needs."""

    def __init__(
        self,
        store: Store,
        *,
        wall: Callable[[], int],
        assignment: Callable[[], Assignment],
        progress: Progress,
        heard: Callable[[Sequence[Verdict]], None] = lambda _verdicts: None,
    ) -> None:
        self._heard = heard  # told of verdicts once they are written
        self._store = store
        self._wall = wall
        self._assignment = assignment
        self._progress = progress
        self._seen: _Seen | None = None
        self._stories = Stories()
        self._begun_for: Assignment | None = None
        self._log = structlog.get_logger("judging")

    async def run(self) -> None:
        """Judge for ever; trouble is logged, counted, and tried again."""
        while True:
            busy = False
            try:
                busy = await self.step()
            except Exception as error:  # noqa: BLE001 the loop must outlive a store that is reopened
                self._progress.failures += 1
                self._progress.last_error = str(error)[:300]
                self._log.exception("judging_failed", error=str(error)[:300])
            if not busy:
                await asyncio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        return min(STEP_S_MAX, self._assignment().marks.width_us / SECOND_US / 4)

    async def step(self) -> bool:
        """Count one slice of due bins and judge one window; True when more may be due at once."""
        assignment = self._assignment()
        seen = await self._begin(assignment)
        await self._look(assignment, seen)
        now_us = self._wall()
        left = await self._count(assignment, seen, now_us)
        ready = self._ready(assignment, seen, left, now_us)
        self._progress.backlog = max(0, len(ready) - 1)
        if ready:
            await self._judge(assignment, seen, ready[0], now_us)
        return bool(left) or len(ready) > 1

    async def _begin(self, assignment: Assignment) -> _Seen:
        """At the start and after a change of the bins: make room, and find what was left undone."""
        before = self._begun_for
        same = before is not None and (before.marks, before.window_us) == (
            assignment.marks,
            assignment.window_us,
        )
        if self._seen is not None and same:
            return self._seen
        now_us, marks = self._wall(), assignment.marks
        since_us = await self._store.run_in_store(
            partial(_prepare, bin_us=marks.width_us, since_us=max(0, now_us - marks.final_us))
        )
        undone = await self._ask(
            partial(
                unanswered_windows,
                bin_us=marks.width_us,
                width_us=assignment.window_us,
                since_us=max(0, now_us - RECOVER_US),
            )
        )
        bodies = await self._ask(partial(serving.incidents, asked=serving.Asked(limit=1000)))
        self._stories = remembered(bodies, now=_aware(now_us))
        self._begun_for = assignment
        self._seen = _Seen(since_us=now_us, looked_us=since_us, windows=set(undone))
        return self._seen

    async def _look(self, assignment: Assignment, seen: _Seen) -> None:
        now_us = self._wall()
        bins = await self._ask(
            partial(rollup.find_bins, bin_us=assignment.marks.width_us, since_us=seen.looked_us)
        )
        seen.arrived |= bins.arrived
        seen.counted |= bins.counted
        seen.looked_us = max(seen.looked_us, now_us - LOOK_BACK_US)

    async def _count(self, assignment: Assignment, seen: _Seen, now_us: int) -> tuple[Due, ...]:
        """Count a slice of the due bins; returns those that are left."""
        marks = assignment.marks
        due = due_spans(
            (*listened_spans(seen.since_us, now_us, marks), *seen.arrived),
            arrived=seen.arrived,
            answered=seen.counted,
            marks=marks,
            now_us=now_us,
        )
        now, later = due[: rollup.BINS_PER_COUNT], due[rollup.BINS_PER_COUNT :]
        if now:
            await self._count_bins([one.start_us for one in now], assignment, seen)
        if not later:
            self._forget(seen, marks, now_us)
        return later

    async def _count_bins(self, starts: Sequence[int], assignment: Assignment, seen: _Seen) -> None:
        as_of_us = self._wall() - COMMIT_SLACK_US
        width_us = assignment.marks.width_us
        counted = await self._store.run_in_store(
            partial(rollup.count_bins, starts=starts, bin_us=width_us, as_of_us=as_of_us)
        )
        seen.counted_to_us = as_of_us
        for one in counted:
            seen.counted[one.bin_us] = one.result_rows
            end_us = one.bin_us + width_us
            seen.windows |= set(range(end_us, end_us + assignment.window_us, width_us))

    def _forget(self, seen: _Seen, marks: Watermarks, now_us: int) -> None:
        """Spans that are answered leave memory; a late row brings them back from the store."""
        seen.since_us = max(
            seen.since_us, span_start(max(0, now_us - marks.provisional_us), marks.width_us)
        )
        settled = [
            start
            for start in set(seen.counted) | set(seen.arrived)
            if start + marks.width_us + marks.provisional_us <= now_us
            and start in seen.counted
            and (start not in seen.arrived or seen.arrived[start].rows <= seen.counted[start])
        ]
        for start in settled:
            seen.arrived.pop(start, None)
            seen.counted.pop(start, None)

    def _ready(
        self, assignment: Assignment, seen: _Seen, left: Sequence[Due], now_us: int
    ) -> list[int]:
        """Ends of the windows that are past their watermark and fully counted, newest first."""
        blocked = {
            end_us
            for due in left
            for end_us in range(
                due.end_us, due.end_us + assignment.window_us, assignment.marks.width_us
            )
        }
        return sorted(
            (
                end_us
                for end_us in seen.windows - blocked
                if stage_at(now_us, end_us, assignment.marks) is not None
            ),
            reverse=True,
        )

    async def _judge(self, assignment: Assignment, seen: _Seen, end_us: int, now_us: int) -> None:
        asked = WindowAsked(
            from_us=end_us - assignment.window_us,
            to_us=end_us,
            as_of_us=now_us if seen.counted_to_us is None else seen.counted_to_us,
            bin_us=assignment.marks.width_us,
            subjects=assignment.subjects,
        )
        stage = stage_at(now_us, end_us, assignment.marks)
        assert stage is not None, "only windows past their watermark are ready"
        seen.windows.discard(end_us)
        try:
            written = await self._answer(asked, stage, now_us)
        except Exception:
            self._put_back(seen, end_us)
            raise
        self._note(written, end_us)

    def _put_back(self, seen: _Seen, end_us: int) -> None:
        """A window is tried a few times, so that one that cannot be judged holds up no other."""
        seen.tries[end_us] = seen.tries.get(end_us, 0) + 1
        if seen.tries[end_us] < TRIES_MAX:
            seen.windows.add(end_us)
        else:
            del seen.tries[end_us]

    async def _answer(self, asked: WindowAsked, stage: Stage, now_us: int) -> tuple[Recorded, ...]:
        verdicts = await self._ask(partial(judge_window, asked=asked))
        stories, news = tell(self._stories, verdicts)
        rows = [row_of(one, body, recorded_at=_aware(now_us)) for one, body in news]
        written = await self._store.run_in_store(
            partial(_record, verdicts=verdicts, stage=stage, incidents=rows)
        )
        self._stories = forget(stories, now=_aware(now_us))
        self._heard(verdicts)
        for incident, _ in news:
            self._tell(incident)
        return written

    def _tell(self, incident: Incident) -> None:
        self._log.info(
            "incident_revised",
            incident_id=incident.incident_id,
            revision=incident.revision,
            state=incident.state,
            service=incident.service,
            component=incident.component,
            fault_level=incident.level.value,
            fault_class=incident.verdict_class.value,
        )

    def _note(self, written: Sequence[Recorded], end_us: int) -> None:
        progress = self._progress
        progress.windows += 1
        progress.verdicts += len(written)
        progress.revisions += sum(one.revision > 1 for one in written)
        progress.changed += sum(one.changed for one in written)
        progress.judged_to_us = max(progress.judged_to_us or 0, end_us)

    async def _ask(self, question: Callable[[Any], T]) -> T:
        """Read in a worker thread, on a cursor of its own."""

        def answer() -> T:
            with self._store.cursor() as cursor:
                return question(cursor)

        return await asyncio.to_thread(answer)


def _aware(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / SECOND_US, UTC)


def _record(
    connection: Any,
    *,
    verdicts: Sequence[Verdict],
    stage: Stage,
    incidents: Sequence[Mapping[str, Any]],
) -> tuple[Recorded, ...]:
    """Verdicts and what they change of incidents, in one transaction of the store's."""
    record_incidents(connection, incidents)
    return record_verdicts(connection, verdicts, stage=stage)


def _prepare(connection: Any, *, bin_us: int, since_us: int) -> int:
    rollup.prepare(connection)
    return rollup.adopt_width(connection, bin_us=bin_us, since_us=since_us)


@asynccontextmanager
async def judging(
    store: Store,
    *,
    wall: Callable[[], int],
    assignment: Callable[[], Assignment],
    progress: Progress,
    heard: Callable[[Sequence[Verdict]], None],
) -> AsyncIterator[None]:
    """Judge for as long as the context lasts.

    A question that is being answered in its worker thread then is ended by the store's stop.
    """
    judge = Judge(store, wall=wall, assignment=assignment, progress=progress, heard=heard)
    loop = asyncio.create_task(judge.run(), name="judging")
    try:
        yield
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
