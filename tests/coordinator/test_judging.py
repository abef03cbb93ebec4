"""The loop of judging against a real store: counts, verdicts, revisions, restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.store.judging import judge_store
from coordinator.core.revision import Subject
from coordinator.core.watermark import Watermarks
from coordinator.judging import Assignment, Judge
from coordinator.progress import Progress
from coordinator.store.writer import Store
from tests.fakes.facts import SECOND_US, T0_US, Fact, world_rows, write

WIDTH_US = 60 * SECOND_US
MARKS = Watermarks(
    width_us=WIDTH_US,
    provisional_us=90 * SECOND_US,
    revised_us=900 * SECOND_US,
    final_us=7200 * SECOND_US,
)
SUBJECTS = (Subject("x", None), Subject("x", "web"), Subject("x", "api"), Subject("x", "spaces"))
WINDOW_US = 5 * WIDTH_US
CALM = 30  # bins of history before anything happens


@dataclass
class Desk:
    """A store, a clock that stands still until it is set, and the loop over them."""

    store: Store
    judge: Judge
    progress: Progress
    asked: list[Assignment]
    now_us: int = T0_US

    async def write(self, facts: Iterable[Fact]) -> None:
        rows = list(facts)
        await self.store.run_in_store(lambda con: write(con, rows))

    async def settle(self, now_us: int) -> None:
        """Run the loop at an instant until nothing is due."""
        self.now_us = now_us
        while await self.judge.step():
            pass

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.store.cursor() as cursor:
            return cursor.execute(sql, list(values)).fetchall()


@asynccontextmanager
async def _desk(path: Path, *, now_us: int) -> AsyncIterator[Desk]:
    asked = [Assignment(marks=MARKS, window_us=WINDOW_US, subjects=SUBJECTS)]
    store = Store(path / "soundings.duckdb", free_bytes=lambda: 1 << 40)
    store.start()
    progress = Progress()
    held: list[Desk] = []
    judge = Judge(
        store, wall=lambda: held[0].now_us, assignment=lambda: asked[0], progress=progress
    )
    held.append(Desk(store=store, judge=judge, progress=progress, asked=asked, now_us=now_us))
    try:
        yield held[0]
    finally:
        await store.stop()


def _run(path: Path, body: Callable[[Desk], Awaitable[None]], **given: Any) -> None:
    async def main() -> None:
        async with _desk(path, **given) as desk:
            await body(desk)

    asyncio.run(main())


def _end(number: int) -> int:
    """The end of a bin."""
    return T0_US + (number + 1) * WIDTH_US


def _spaces(fact: Fact) -> bool:
    return fact.component == "spaces"


async def _calm(desk: Desk, *, judged: bool = False) -> None:
    """History on record: rows of calm bins, counted; their verdicts only where a test reads them."""
    if not judged:
        desk.asked[0] = replace(desk.asked[0], subjects=())
    await desk.settle(T0_US)
    await desk.write(world_rows(range(CALM), width_us=WIDTH_US))
    await desk.settle(_end(CALM - 1) + MARKS.provisional_us)
    desk.asked[0] = replace(desk.asked[0], subjects=SUBJECTS)


def test_a_component_that_fails_is_named_within_its_own_bin(tmp_path: Path) -> None:
    """Spaces answers 503 for one bin after a calm half hour: it is named, its siblings are not."""

    async def body(desk: Desk) -> None:
        await _calm(desk)
        await desk.write(world_rows(range(CALM, CALM + 1), width_us=WIDTH_US, broken=_spaces))
        await desk.settle(_end(CALM) + MARKS.provisional_us)
        found = desk.ask(
            """SELECT component, level, class, revision, stage FROM verdicts
               WHERE epoch_us(window_to) = ?""",
            _end(CALM),
        )
        classes = {row[0]: row[1:3] for row in found}
        assert classes["spaces"] == classes[None] == ("application", "application_component")
        assert classes["web"] == classes["api"] == ("healthy", "healthy")
        assert set(desk.ask("SELECT DISTINCT component FROM incidents")) == {("spaces",), (None,)}
        assert {row[3:] for row in found} == {(1, "provisional")}
        bodies = desk.ask("SELECT body FROM verdicts WHERE component = 'spaces'")
        assert all(json.loads(text)["component"] == "spaces" for (text,) in bodies)

    _run(tmp_path, body, now_us=T0_US)


def test_every_closed_window_is_judged_once(tmp_path: Path) -> None:
    """Looking again without new rows writes nothing."""

    async def body(desk: Desk) -> None:
        await _calm(desk, judged=True)
        first = desk.ask("SELECT count(*), max(revision) FROM verdicts")
        await desk.settle(_end(CALM - 1) + MARKS.provisional_us + SECOND_US)
        assert desk.ask("SELECT count(*), max(revision) FROM verdicts") == first
        assert first == [(CALM * len(SUBJECTS), 1)]
        assert desk.progress.verdicts == CALM * len(SUBJECTS)
        assert desk.progress.judged_to_us == _end(CALM - 1)

    _run(tmp_path, body, now_us=T0_US)


def test_backfilled_rows_revise_the_verdict_and_keep_the_first(tmp_path: Path) -> None:
    """Rows of a cut-off fleet that come an hour late make revision 2; revision 1 stays as it was."""

    async def body(desk: Desk) -> None:
        await _calm(desk)
        rows = list(world_rows(range(CALM, CALM + 1), width_us=WIDTH_US, broken=_spaces))
        early = [fact for fact in rows if fact.vantage == "v00"]
        late_us = _end(CALM) + 1000 * SECOND_US
        late = [replace(f, received_at_us=late_us) for f in rows if f.vantage != "v00"]
        await desk.write(early)
        await desk.settle(_end(CALM) + MARKS.provisional_us)
        of_spaces = """SELECT revision, stage, level, epoch_us(as_of), sentence FROM verdicts
            WHERE component = 'spaces' AND epoch_us(window_to) = ? ORDER BY revision"""
        before = desk.ask(of_spaces, _end(CALM))
        assert [row[:2] for row in before] == [(1, "provisional")]
        assert before[0][2] in {"healthy", "unknown"}
        await desk.write(late)
        await desk.settle(late_us + SECOND_US)
        assert desk.ask(of_spaces, _end(CALM)) == before, "a burst is waited for"
        await desk.settle(late_us + 20 * SECOND_US)
        after = desk.ask(of_spaces, _end(CALM))
        assert after[:1] == before
        assert [row[:3] for row in after[1:]] == [(2, "revised", "application")]
        assert desk.progress.changed >= 1

    _run(tmp_path, body, now_us=T0_US)


def test_a_verdict_can_be_computed_again_as_of_its_time(tmp_path: Path) -> None:
    """Rows that came after a verdict's `as_of` do not enter when it is asked for as of then."""

    async def body(desk: Desk) -> None:
        await _calm(desk)
        rows = list(world_rows(range(CALM, CALM + 1), width_us=WIDTH_US, broken=_spaces))
        await desk.write([f for f in rows if f.vantage in {"v00", "v02"}])
        await desk.settle(_end(CALM) + MARKS.provisional_us)
        late_us = _end(CALM) + 1000 * SECOND_US
        await desk.write(
            [replace(f, received_at_us=late_us) for f in rows if f.vantage not in {"v00", "v02"}]
        )
        await desk.settle(late_us + 20 * SECOND_US)
        kept = desk.ask(
            """SELECT epoch_us(as_of), class, body FROM verdicts
               WHERE component = 'spaces' AND epoch_us(window_to) = ? ORDER BY revision""",
            _end(CALM),
        )
        with desk.store.cursor() as cursor:
            for as_of_us, verdict_class, body_text in kept:
                again = judge_store(
                    cursor,
                    service="x",
                    component="spaces",
                    window_from=datetime.fromtimestamp((_end(CALM) - WINDOW_US) / 1e6, UTC),
                    window_to=datetime.fromtimestamp(_end(CALM) / 1e6, UTC),
                    as_of=datetime.fromtimestamp(as_of_us / 1e6, UTC),
                )
                assert again.verdict_class.value == verdict_class
                assert (
                    again.to_json()["p_application_component"]
                    == json.loads(body_text)["p_application_component"]
                )
        assert len(kept) == 2

    _run(tmp_path, body, now_us=T0_US)


def test_an_incident_is_told_once_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    """A fault over several windows is one incident per subject, and keeps its name and its end."""
    ids = "SELECT DISTINCT incident_id FROM incidents WHERE component = 'spaces'"

    async def first(desk: Desk) -> None:
        await _calm(desk)
        await desk.write(world_rows(range(CALM, CALM + 2), width_us=WIDTH_US, broken=_spaces))
        await desk.settle(_end(CALM + 1) + MARKS.provisional_us)
        assert len(desk.ask(ids)) == 1

    async def second(desk: Desk) -> None:
        before = desk.ask(ids)
        await desk.settle(desk.now_us)
        await desk.write(
            world_rows(
                range(CALM + 2, CALM + 14),
                width_us=WIDTH_US,
                broken=lambda fact: _spaces(fact) and fact.slot_at_us < _end(CALM + 3),
            )
        )
        await desk.settle(_end(CALM + 13) + MARKS.provisional_us)
        assert desk.ask(ids) == before
        found = desk.ask(
            """SELECT state, epoch_us(onset_from), epoch_us(onset_to), epoch_us(end_to), revision,
                      body FROM incidents WHERE component = 'spaces' ORDER BY revision"""
        )
        numbers = [row[4] for row in found]
        assert numbers[0] == 1
        assert len(set(numbers)) == len(numbers)
        state, onset_from, onset_to, end_to, _, body = found[-1]
        assert state == "ended"
        assert abs(onset_from - _end(CALM - 1)) <= 2 * WIDTH_US
        assert abs(onset_to - _end(CALM - 1)) <= 2 * WIDTH_US
        assert abs(end_to - _end(CALM + 3)) <= 2 * WIDTH_US
        assert json.loads(body)["verdict"]["component"] == "spaces"

    _run(tmp_path, first, now_us=T0_US)
    _run(tmp_path, second, now_us=_end(CALM + 1) + MARKS.provisional_us)


def test_a_restart_judges_what_was_counted_and_not_judged(tmp_path: Path) -> None:
    """A loop that died between counting and judging loses no window, and repeats none."""

    async def first(desk: Desk) -> None:
        await _calm(desk, judged=True)
        await desk.store.run_in_store(
            lambda con: con.execute(
                "DELETE FROM verdicts WHERE window_to = (SELECT max(window_to) FROM verdicts)"
            )
        )

    async def second(desk: Desk) -> None:
        before = desk.ask("SELECT count(*) FROM verdicts")
        await desk.settle(desk.now_us)
        assert before == [((CALM - 1) * len(SUBJECTS),)]
        assert desk.ask("SELECT count(*), max(revision) FROM verdicts") == [
            (CALM * len(SUBJECTS), 1)
        ]

    _run(tmp_path, first, now_us=T0_US)
    _run(tmp_path, second, now_us=_end(CALM - 1) + MARKS.provisional_us)


def test_the_newest_window_comes_before_a_backlog(tmp_path: Path) -> None:
    """With thirty windows waiting, the first one judged is the newest."""

    async def body(desk: Desk) -> None:
        await desk.write(world_rows(range(CALM), width_us=WIDTH_US))
        desk.now_us = _end(CALM - 1) + MARKS.provisional_us
        assert await desk.judge.step()
        assert desk.ask("SELECT DISTINCT epoch_us(window_to) FROM verdicts") == [(_end(CALM - 1),)]
        assert desk.progress.backlog == CALM - 1

    _run(tmp_path, body, now_us=T0_US)


def test_silence_while_listening_is_judged_as_missing_data(tmp_path: Path) -> None:
    """A window in which nobody reported has a verdict, and it is not that all is well."""

    async def body(desk: Desk) -> None:
        await _calm(desk)
        silent = CALM + WINDOW_US // WIDTH_US - 1
        await desk.settle(_end(silent) + MARKS.provisional_us)
        found = desk.ask(
            "SELECT DISTINCT class, reasons FROM verdicts WHERE epoch_us(window_to) = ?",
            _end(silent),
        )
        assert {row[0] for row in found} == {"insufficient"}
        assert any("missing_data" in row[1] for row in found)

    _run(tmp_path, body, now_us=T0_US)


def test_without_any_row_nothing_is_said(tmp_path: Path) -> None:
    """A fresh coordinator counts empty bins and gives no verdict on what was never measured."""

    async def body(desk: Desk) -> None:
        await desk.settle(T0_US)
        await desk.settle(_end(3) + MARKS.provisional_us)
        assert desk.ask("SELECT count(*), sum(result_rows) FROM rollups") == [(4, 0)]
        assert desk.ask("SELECT count(*) FROM verdicts") == [(0,)]

    _run(tmp_path, body, now_us=T0_US)
