"""Whom judging asks, out of a configuration or out of many subjects; and what it does when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from coordinator.core.revision import Subject
from coordinator.core.validation import validate
from coordinator.core.watermark import Watermarks
from coordinator.judging import TRIES_MAX, Assignment, Judge, assign
from coordinator.opinion import WindowAsked, judge_window
from coordinator.progress import Progress
from coordinator.store import rollup
from coordinator.store.writer import Store
from tests.fakes.facts import SECOND_US, T0_US, Fact, open_store, world_rows, write

WIDTH_US = 60 * SECOND_US
CALM = 30
END_US = T0_US + (CALM + 2) * WIDTH_US
SUBJECTS = tuple(Subject("x", part) for part in (None, "web", "api", "spaces"))


@pytest.fixture(scope="module")
def store() -> Iterator[duckdb.DuckDBPyConnection]:
    """Half an hour of calm and two bins in which Spaces fails, counted."""
    connection = open_store()
    write(connection, world_rows(range(CALM), width_us=WIDTH_US))
    broken = world_rows(range(CALM, CALM + 2), width_us=WIDTH_US, broken=_is_spaces)
    write(connection, broken)
    starts = [T0_US + n * WIDTH_US for n in range(CALM + 2)]
    for part in (starts[:20], starts[20:]):
        rollup.count_bins(connection, part, bin_us=WIDTH_US, as_of_us=END_US)
    yield connection
    connection.close()


def _is_spaces(fact: Fact) -> bool:
    return fact.component == "spaces"


def _asked(*, to_us: int = END_US) -> WindowAsked:
    return WindowAsked(
        from_us=to_us - 5 * WIDTH_US,
        to_us=to_us,
        as_of_us=END_US,
        bin_us=WIDTH_US,
        subjects=SUBJECTS,
        judge_all_below=0,
    )


def test_of_many_subjects_the_alarmed_ones_are_adjudicated(
    store: duckdb.DuckDBPyConnection,
) -> None:
    """With no room to judge everybody, the detector finds the failing component and its service."""
    found = {verdict.component: verdict for verdict in judge_window(store, _asked())}
    assert {"spaces", None} <= set(found)
    assert found["spaces"].verdict_class.value == "application_component"
    assert found["spaces"].evidence


def test_of_many_quiet_subjects_hardly_any_is_adjudicated(
    store: duckdb.DuckDBPyConnection,
) -> None:
    """Before the fault nobody alarms: over twenty windows only the fixed share is judged."""
    ends = [T0_US + n * WIDTH_US for n in range(10, CALM)]
    judged = [len(judge_window(store, _asked(to_us=end))) for end in ends]
    assert sum(judged) <= 3


def test_a_service_without_rows_has_no_verdict(store: duckdb.DuckDBPyConnection) -> None:
    """Nothing is said of what was never measured."""
    asked = replace(_asked(), subjects=(Subject("y", None), Subject("y", "web")))
    assert judge_window(store, asked) == []


def test_when_nobody_can_send_the_fault_is_at_home() -> None:
    """A window of refusals by the vantage points' own systems is vantage_local, with its question."""
    connection = open_store()
    facts = [
        replace(fact, failure="local_no_route", operation="connect", sent=0, http_status=None)
        for fact in world_rows(range(5), width_us=WIDTH_US)
        if fact.vantage == "v00"
    ]
    write(connection, facts)
    starts = [T0_US + n * WIDTH_US for n in range(5)]
    rollup.count_bins(connection, starts, bin_us=WIDTH_US, as_of_us=END_US)
    asked = replace(_asked(to_us=T0_US + 5 * WIDTH_US), judge_all_below=40)
    verdicts = judge_window(connection, asked)
    assert {verdict.verdict_class.value for verdict in verdicts} == {"vantage_local"}
    assert {verdict.level.value for verdict in verdicts} == {"local"}
    assert "has no route to send on" in verdicts[0].sentence
    asked_again = connection.execute(verdicts[0].evidence[0].sql).fetchall()
    assert asked_again == [("v00", 0, 13, "local_no_route")]
    connection.close()


def test_the_configuration_says_whom_to_judge_and_over_what() -> None:
    """Subjects and whole services are judged, controls are not; slow checks widen the window."""
    document = {
        "judging": {"bin_s": 60},
        "service": [
            {
                "name": "x",
                "component": [
                    {"name": "web", "url": "https://x.test/", "interval_s": 400},
                    {"name": "near", "url": "https://n.test/", "role": "neighbour"},
                ],
            }
        ],
        "anchor": [{"name": "a", "url": "https://a.test/", "interval_s": 3600}],
    }
    assigned = assign(validate(document, file="soundings.toml"))
    assert assigned.subjects == (Subject("x", None), Subject("x", "web"))
    assert assigned.window_us == 14 * WIDTH_US
    assert assigned.marks.provisional_us == 90 * SECOND_US


MARKS = Watermarks(
    width_us=WIDTH_US,
    provisional_us=90 * SECOND_US,
    revised_us=900 * SECOND_US,
    final_us=7200 * SECOND_US,
)


def test_a_window_that_cannot_be_judged_is_given_up_after_a_few_tries(tmp_path: Path) -> None:
    """Each try raises; then the loop goes on without it instead of standing still."""

    async def body() -> None:
        store = Store(tmp_path / "soundings.duckdb", free_bytes=lambda: 1 << 40)
        store.start()
        now_us = [T0_US]
        assigned = Assignment(marks=MARKS, window_us=5 * WIDTH_US, subjects=SUBJECTS)
        judge = Judge(
            store, wall=lambda: now_us[0], assignment=lambda: assigned, progress=Progress()
        )
        await judge.step()
        rows = list(world_rows(range(1), width_us=WIDTH_US))
        await store.run_in_store(lambda con: write(con, rows))
        await store.run_in_store(lambda con: con.execute("DROP TABLE verdicts"))
        now_us[0] = T0_US + WIDTH_US + MARKS.provisional_us
        for _ in range(TRIES_MAX):
            with pytest.raises(duckdb.CatalogException):
                await judge.step()
        assert not await judge.step()
        await store.stop()

    asyncio.run(body())


def test_new_bins_in_the_configuration_count_nothing_twice(tmp_path: Path) -> None:
    """When the width of bins changes while it runs, live cells still add up to the rows."""

    async def body() -> None:
        store = Store(tmp_path / "soundings.duckdb", free_bytes=lambda: 1 << 40)
        store.start()
        wide = Assignment(marks=MARKS, window_us=5 * WIDTH_US, subjects=())
        narrow = Assignment(
            marks=replace(MARKS, width_us=WIDTH_US // 3), window_us=5 * WIDTH_US // 3, subjects=()
        )
        assigned = [wide]
        judge = Judge(
            store, wall=lambda: END_US, assignment=lambda: assigned[0], progress=Progress()
        )
        rows = [Fact(slot_at_us=T0_US + n * 7 * SECOND_US) for n in range(200)]
        await store.run_in_store(lambda con: write(con, rows))
        for one in (wide, narrow, wide):
            assigned[0] = one
            while await judge.step():
                pass
            with store.cursor() as cursor:
                counted = cursor.execute("SELECT sum(sent), count(DISTINCT bin_s) FROM cells")
                assert counted.fetchall() == [(200, 1)]
        await store.stop()

    asyncio.run(body())
