"""Incidents over revisions and restarts, with a real store in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from analysis.cli import main
from analysis.core.judge import judge
from analysis.core.verdict import Verdict
from analysis.store import open_in_memory, open_to_write
from coordinator.core.watermark import Stage
from coordinator.store import serving
from coordinator.store.judgements import record_incidents, record_verdicts
from coordinator.stories import Stories, remembered, row_of, tell
from tests.fakes.faults import block_for

FAILING = judge(block_for("overload"), service="x", component="spaces")
HEALTHY = judge(block_for("healthy"), service="x", component="spaces")


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_in_memory() as opened:
        yield opened


def at(verdict: Verdict, number: int, *, rows: int = 0) -> Verdict:
    """The verdict on the window that begins at minute `number`, from rows up to minute `rows`."""
    since = FAILING.window_from + timedelta(minutes=number)
    return replace(
        verdict,
        window_from=since,
        window_to=since + timedelta(minutes=2),
        as_of=FAILING.as_of + timedelta(minutes=rows),
        onset=None,
        end=None,
    )


def told(con: duckdb.DuckDBPyConnection, stories: Stories, *verdicts: Verdict) -> Stories:
    """What judging does with the verdicts of a window."""
    after, news = tell(stories, verdicts)
    record_verdicts(con, verdicts, stage=Stage.FINAL)
    record_incidents(con, [row_of(one, body, recorded_at=one.until) for one, body in news])
    return after


def read_back(con: duckdb.DuckDBPyConnection) -> Stories:
    """The stories after a restart."""
    return remembered(serving.incidents(con), now=FAILING.as_of)


def states(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    shown = serving.incidents(con, with_support=False)
    return [(one["state"], one["sentence"][:9]) for one in shown]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_corrected_false_alarm_is_withdrawn_on_record(
    con: duckdb.DuckDBPyConnection, *, restarted: bool
) -> None:
    """With its only window revised to healthy the incident is withdrawn, after a restart as well."""
    stories = told(con, Stories(), at(FAILING, 0))
    stories = read_back(con) if restarted else stories
    stories = told(con, stories, at(HEALTHY, 0, rows=1))
    assert states(con) == [("withdrawn", "withdrawn")]
    (row,) = serving.incidents(con)
    assert (row["verdict"], row["support"]) == (None, [])
    assert {one.state for one in read_back(con).known} == {"withdrawn"}


def test_a_restart_forgets_no_window_that_bears_an_incident_out(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """Windows that came after the last revision of an incident still uphold it."""
    told(con, Stories(), at(FAILING, 0))
    told(con, read_back(con), at(FAILING, 1))
    stories = read_back(con)
    assert [len(one.parts) for one in stories.known] == [2]
    stories = told(con, stories, at(HEALTHY, 0, rows=1))
    assert {one.state for one in stories.known} == {"open"}
    told(con, stories, at(HEALTHY, 1, rows=1))
    assert states(con) == [("withdrawn", "withdrawn")]


def test_what_is_older_than_a_day_upholds_an_incident_after_a_restart(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """Of a long outage only the last day is read again; the rest is kept as what it was."""
    stories = Stories()
    for number in range(0, 1800, 2):
        stories = told(con, stories, at(FAILING, number))
    (before,), (after,) = stories.known, read_back(con).known
    assert (after.incident_id, after.began) == (before.incident_id, before.began)
    assert after.state == "open"
    assert after.until == before.until


def test_the_command_shows_the_incidents_of_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`incidents` reads the record: same names, states and sentences; without one, the verdicts."""
    path = tmp_path / "store.duckdb"
    with open_to_write(path) as con:
        record_verdicts(con, [at(FAILING, 0)], stage=Stage.FINAL)
    assert main(["incidents", "--db", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["source"] == "verdicts"
    with open_to_write(path) as con:
        stories = told(con, Stories(), at(FAILING, 0, rows=1))
        told(con, stories, at(HEALTHY, 0, rows=2), replace(at(FAILING, 0, rows=2), service="y"))
        page = serving.incidents(con, with_support=False)
    assert main(["incidents", "--db", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    names = ("incident_id", "revision", "state", "sentence")
    assert sorted([one[name] for name in names] for one in said) == sorted(
        [one[name] for name in names] for one in page
    )
    assert {(one["source"], one["state"]) for one in said} == {
        ("incidents", "withdrawn"),
        ("incidents", "open"),
    }
    assert main(["incidents", "--db", str(path), "--service", "x"]) == 0
    assert "no end: withdrawn" in capsys.readouterr().out
