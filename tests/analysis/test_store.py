"""Blocks and verdicts from a real store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path

import duckdb
import numpy as np
import pytest

from analysis.core.claim import Claim
from analysis.core.taxonomy import VerdictClass
from analysis.core.verdict import Verdict
from analysis.store import (
    NoSuchServiceError,
    SchemaError,
    StoreError,
    Window,
    adjudicate_store,
    alarms_store,
    ask_freely,
    judge_store,
    latest_verdicts,
    migrate,
    open_in_memory,
    open_to_read,
    open_to_write,
    read_block,
    served,
    usual_window,
)
from analysis.store.questions import question
from coordinator.core.watermark import Stage
from coordinator.store.judgements import record_verdicts
from tests.fakes import worlds
from tests.fakes.blocks import block_of
from tests.fakes.faults import FAULTS
from tests.fakes.stores import store_of, write_csv

C = VerdictClass
SEED = 1009
WORLD = worlds.make_world(SEED, FAULTS["overload"], vantages=12)
START = worlds.START + timedelta(seconds=WORLD.history_bins * WORLD.bin_s)
END = START + timedelta(seconds=WORLD.fault_bins * WORLD.bin_s)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A store with one overloaded world; tests only read it."""
    con = store_of(write_csv(tmp_path_factory.mktemp("world") / "rows.csv", WORLD.rows()))
    yield con
    con.close()


def judged(con: duckdb.DuckDBPyConnection, *, as_of: datetime | None = None) -> Verdict:
    return judge_store(
        con, service="x", component="spaces", window_from=START, window_to=END, as_of=as_of
    )


def test_the_store_counts_what_the_world_holds(filled: duckdb.DuckDBPyConnection) -> None:
    """Per target and channel, SQL and Python count the same attempts, slow ones included."""
    window = Window(scenario=None, since=START, until=END, as_of=END + timedelta(hours=1))
    told, known = read_block(filled, window, service="x"), block_of(WORLD)
    assert told.bins == known.bins
    assert told.bin_s == known.bin_s
    order = [
        [(one.service, one.component) for one in known.targets].index((one.service, one.component))
        for one in told.targets
    ]
    names = {one.kind: number for number, one in enumerate(known.channels)}

    def table(block: object, *, mine: bool) -> np.ndarray:
        counts = block.window  # type: ignore[attr-defined]
        target = np.array(order)[counts.target] if mine else counts.target
        kinds = [names[one.kind] for one in block.channels]  # type: ignore[attr-defined]
        channel = np.array(kinds)[counts.channel]
        sums = np.zeros((len(known.targets), len(names), 16))
        np.add.at(sums, (target, channel, counts.outcome), counts.count)
        return sums

    assert np.array_equal(table(told, mine=True), table(known, mine=False))
    assert told.attempts.sum() == known.attempts.sum()
    assert told.history_cells[order.index(0)] == known.history_cells[0]


def test_a_store_gives_the_verdict_with_questions_that_hold(
    filled: duckdb.DuckDBPyConnection,
) -> None:
    """The verdict's sentences carry SQL that anyone can run, and it gives the value printed."""
    verdict = judged(filled)
    assert verdict.verdict_class is C.OVERLOAD
    assert len(verdict.evidence) >= 5
    for one in verdict.evidence:
        rows = filled.execute(one.sql).fetchall()
        values = [value for row in rows for value in row if isinstance(value, int | float)]
        assert any(value == pytest.approx(one.value, abs=1e-6) for value in values), one.sentence


def test_rows_count_only_once_they_have_arrived(filled: duckdb.DuckDBPyConnection) -> None:
    """As of the fault's start its rows had not come: the verdict then was missing data."""
    before = judged(filled, as_of=START)
    assert before.verdict_class is C.INSUFFICIENT
    assert "missing_data" in before.reasons
    assert judged(filled, as_of=END + timedelta(minutes=1)).verdict_class is C.OVERLOAD


def test_late_rows_that_have_not_arrived_change_nothing(tmp_path: Path) -> None:
    """Rows stamped as received later leave an earlier as-of verdict exactly as it was."""
    world = worlds.make_world(SEED, FAULTS["application_component"], vantages=12)
    rows = list(world.rows())
    con = store_of(write_csv(tmp_path / "rows.csv", rows))
    as_of = END + timedelta(minutes=1)
    first = judged(con, as_of=as_of).to_json()
    late = [
        {
            **row,
            "lost": 0,
            "failure": None,
            "operation": None,
            "received_at": as_of + timedelta(hours=1),
        }
        for row in rows
        if row["slot_at"] >= START
    ]
    again = store_of(write_csv(tmp_path / "both.csv", rows + late))
    assert judged(again, as_of=as_of).to_json() == first
    con.close()
    again.close()


def test_a_service_that_is_not_there_lists_what_is(filled: duckdb.DuckDBPyConnection) -> None:
    """The error names the services in the store."""
    with pytest.raises(NoSuchServiceError, match="there is: x"):
        judge_store(filled, service="y", component=None, window_from=START, window_to=END)


def test_the_detector_and_the_usual_window_find_the_fault(
    filled: duckdb.DuckDBPyConnection,
) -> None:
    """With nothing said, the window chosen holds the alarm, and history stays before it."""
    window = Window(scenario=None, since=START, until=END, as_of=END + timedelta(hours=1))
    (alarm,) = alarms_store(filled, window=window, service="x")
    assert alarm.component == "spaces"
    own = next(one for one in served(filled) if one.service == "x")
    since, until = usual_window(filled, own, as_of=None)
    assert own.first < since <= START < until <= own.end


def test_a_quiet_store_offers_its_last_minutes(tmp_path: Path) -> None:
    """Without an alarm the usual window is the end of the data, after a third of history."""
    con = store_of(write_csv(tmp_path / "q.csv", worlds.make_world(SEED, vantages=12).rows()))
    own = served(con)[0]
    since, until = usual_window(con, next(o for o in served(con) if o.service == "x"), as_of=None)
    assert until == own.end
    assert since - own.first >= (own.end - own.first) / 3 - timedelta(seconds=WORLD.bin_s)
    con.close()


def test_a_claim_is_adjudicated_from_the_store(filled: duckdb.DuckDBPyConnection) -> None:
    """The sheet over a store's window refutes what the siblings refute."""
    claim = Claim(kind="ddos", service="x", component="spaces")
    sheet = adjudicate_store(filled, claim, window_from=START, window_to=END)
    assert {one.rule.code: one.words for one in sheet.variants}["D3"] == "contradicted"


def test_recorded_verdicts_come_back_as_their_newest_revision(
    filled: duckdb.DuckDBPyConnection,
) -> None:
    """Revisions stand beside each other; reading gives the last one of each."""
    verdict = judged(filled)
    with open_in_memory() as con:
        record_verdicts(con, [verdict], stage=Stage.PROVISIONAL)
        later = replace(verdict, as_of=verdict.as_of + timedelta(minutes=1))
        record_verdicts(con, [later], stage=Stage.REVISED)
        (read,) = latest_verdicts(con)
        kept = con.execute("SELECT count(*), max(level) FROM verdicts").fetchall()
    assert read.to_json() == later.to_json()
    assert kept == [(2, "application")]


def test_bins_of_a_known_incident_are_no_baseline(filled: duckdb.DuckDBPyConnection) -> None:
    """History inside a fault is left out, unless the newest revision at that time is none."""
    window = Window(
        scenario=None, since=END, until=END + timedelta(seconds=2), as_of=END + timedelta(hours=1)
    )
    with open_in_memory() as con:
        rows = filled.execute("SELECT * FROM cells WHERE service = 'x'").fetchall()
        marks = ", ".join("?" * len(rows[0]))
        con.executemany(f"INSERT INTO cells VALUES ({marks})", rows[::29])  # noqa: S608 - only question marks
        before = read_block(con, window, service="x").attempts.sum()
        verdict = judged(filled)
        record_verdicts(con, [verdict], stage=Stage.PROVISIONAL)
        after = read_block(con, window, service="x").attempts.sum()
        later = replace(
            verdict, as_of=verdict.as_of + timedelta(seconds=1), verdict_class=VerdictClass.HEALTHY
        )
        record_verdicts(con, [later], stage=Stage.REVISED)
        corrected = read_block(con, window, service="x").attempts.sum()
        earlier = replace(window, as_of=verdict.as_of)
        con.execute("UPDATE cells SET received_at = NULL")
        then = read_block(con, earlier, service="x").attempts.sum()
    assert 0 < after < before * 0.8
    assert corrected == before
    assert then == after


def test_heartbeats_are_read_for_live_rows_only(tmp_path: Path) -> None:
    """A probe that sent heartbeats before and not in the window is known to be missing."""
    with open_in_memory() as con:
        con.execute(
            "INSERT INTO probes (declaration_no, probe_id, name, vantage_asn, vantage_country, provider, "
            "labels, state, recorded_at) VALUES (1, 'p', 'v00', 64500, 'DE', NULL, NULL, 'enrolled', '2026-01-01')"
        )
        con.execute(
            "INSERT INTO heartbeats BY NAME SELECT 'p' AS probe_id, t AS sent_at, t AS received_at, "
            "0 AS plan_version, 1 AS uptime_s, 1 AS cpu_s, 0 AS spool_bytes, 0 AS spool_rows, "
            "0 AS evicted_rows, 0 AS queue_depth, 0 AS overloaded_slots FROM (SELECT TIMESTAMP '2026-03-01 11:00:00' AS t)"
        )
        con.execute(
            "INSERT INTO cells BY NAME SELECT TIMESTAMP '2026-03-01 12:00:00' AS slot_at, 60 AS bin_s, "
            "v AS vantage, 'x' AS service, 'c' AS component, 'http' AS kind, 1 AS sent, 0 AS lost "
            "FROM (VALUES ('v00'), ('v01')) AS t(v)"
        )
        at = worlds.START
        window = Window(scenario=None, since=at, until=at + timedelta(minutes=1), as_of=END)
        block = read_block(con, window, service="x")
    assert block.heartbeat == (False, None)


def test_a_newer_schema_is_refused() -> None:
    """A store that a newer program wrote is not half understood."""
    with open_in_memory() as con:
        con.execute("INSERT INTO schema_version VALUES (9999, 'x', '2026-01-01')")
        with pytest.raises(SchemaError, match="9999"):
            migrate(con)


def test_every_question_runs_on_the_schema() -> None:
    """Each file of SQL parses and binds against the migrated store."""
    names = [one.name for one in files("analysis.sql").iterdir() if one.name.endswith(".sql")]
    with open_in_memory() as con:
        for name in names:
            assert len(con.extract_statements(question(name.removesuffix(".sql")))) == 1
    assert len(names) > 10


def test_free_questions_only_read(tmp_path: Path) -> None:
    """One SELECT or EXPLAIN runs; writes, files and several statements are refused."""
    path = tmp_path / "s.duckdb"
    with open_to_write(path) as con:
        con.execute("INSERT INTO imports VALUES ('2026-01-01', 'a', 'b', 1)")
    refused = [
        "DELETE FROM imports",
        "SELECT 1; SELECT 2",
        "COPY imports TO 'x.csv'",
        "WITH x AS (INSERT INTO imports VALUES ('2026-01-01','a','b',1) RETURNING *) SELECT * FROM x",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELEC 1",
        "",
    ]
    with open_to_read(path) as con:
        assert ask_freely(con, "SELECT path FROM imports").rows == [("a",)]
    for statement in refused:
        with open_to_read(path) as con, pytest.raises(StoreError):
            ask_freely(con, statement)


def test_a_missing_or_broken_store_is_named(tmp_path: Path) -> None:
    """The message names the file and what to do."""
    with pytest.raises(StoreError, match="no such store"), open_to_read(tmp_path / "none"):
        pass
    broken = tmp_path / "broken.duckdb"
    broken.write_text("this is no database, only some text that is long enough to be read" * 100)
    with pytest.raises(StoreError, match="cannot be opened"), open_to_read(broken):
        pass
