"""A quarantined vantage point weighs nothing, and not one of its rows is hidden."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from analysis.core.taxonomy import Level, VerdictClass
from analysis.core.verdict import Verdict, verdict_from_json
from analysis.report.text import render_verdict
from analysis.store import judge_store
from analysis.store.questions import ask
from tests.fakes import worlds
from tests.fakes.faults import FAULTS
from tests.fakes.stores import store_of, write_csv

WORLD = worlds.make_world(1009, FAULTS["application_component"], vantages=12)
START = worlds.START + timedelta(seconds=WORLD.history_bins * WORLD.bin_s)
END = START + timedelta(seconds=WORLD.fault_bins * WORLD.bin_s)
QUIET = worlds.make_world(1009, None, vantages=12)
LIARS = tuple(sorted(one.name for one in WORLD.vantages)[:7])


def rows(*, liars: Iterable[str]) -> list[dict[str, object]]:
    """A calm world in which some vantage points say that spaces fails."""
    lies = dict.fromkeys(liars, True)
    calm = [row for row in QUIET.rows() if row["vantage"] not in lies]
    return calm + [row for row in WORLD.rows() if row["vantage"] in lies]


@pytest.fixture(scope="module")
def lied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A store with seven liars among twelve; each test takes back what it says of them."""
    con = store_of(write_csv(tmp_path_factory.mktemp("lies") / "rows.csv", rows(liars=LIARS)))
    yield con
    con.close()


@pytest.fixture
def store(lied: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same store, undone after each test."""
    lied.execute("BEGIN TRANSACTION")
    yield lied
    lied.execute("ROLLBACK")


def say(
    con: duckdb.DuckDBPyConnection, names: Iterable[str], state: str, *, at: datetime = START
) -> None:
    """Somebody decided of these probes."""
    for name in names:
        con.execute(
            "INSERT INTO probes (declaration_no, probe_id, name, state, recorded_at) "
            "VALUES (1, 'p' || $name, $name, $state, $at)",
            {"name": name, "state": state, "at": at.replace(tzinfo=None)},
        )


def judged(con: duckdb.DuckDBPyConnection, *, as_of: datetime | None = None) -> Verdict:
    """The verdict on spaces."""
    return judge_store(
        con, service="x", component="spaces", window_from=START, window_to=END, as_of=as_of
    )


def counted(con: duckdb.DuckDBPyConnection) -> object:
    """Every row that anybody can read."""
    return con.execute("SELECT vantage, count(*), sum(sent), sum(lost) FROM cells GROUP BY ALL "
                       "ORDER BY ALL").fetchall()  # fmt: skip


def test_a_quarantine_turns_what_liars_said(store: duckdb.DuckDBPyConnection) -> None:
    """Seven of twelve name a failing component; under quarantine the other five are heard."""
    assert judged(store).level is Level.APPLICATION
    say(store, LIARS, "quarantined")
    assert judged(store).verdict_class is VerdictClass.HEALTHY


def test_a_quarantine_removes_no_row(store: duckdb.DuckDBPyConnection) -> None:
    """What the quarantined said can be read like anything else, before, while and after."""
    before = counted(store)
    for state in ("quarantined", "enrolled", "quarantined", "revoked"):
        say(store, LIARS, state)
        judged(store)
        assert counted(store) == before


@pytest.mark.parametrize("liars", [LIARS[:1], LIARS[:3]])
def test_the_verdict_is_that_of_a_store_without_their_rows(
    store: duckdb.DuckDBPyConnection, tmp_path: Path, liars: tuple[str, ...]
) -> None:
    """To weigh nothing is to count as though never measured: posterior, evidence, everything."""
    say(store, liars, "quarantined")
    with_rows = judged(store, as_of=END)
    told = [row for row in rows(liars=LIARS) if row["vantage"] not in liars]
    without = store_of(write_csv(tmp_path / "rows.csv", told))
    other = judged(without, as_of=END)
    assert [one.value for one in with_rows.evidence[:-1]] == [one.value for one in other.evidence]
    assert replace(with_rows, evidence=(), quarantined=()) == replace(other, evidence=())
    without.close()


def test_the_verdict_says_who_was_left_out(store: duckdb.DuckDBPyConnection) -> None:
    """How many, which, and the question that names them, in evidence, text and JSON."""
    say(store, LIARS[:2], "quarantined")
    verdict = judged(store)
    last = verdict.evidence[-1]
    assert last.sentence == (
        f"2 vantage points were under quarantine and weighed nothing: {LIARS[0]}, {LIARS[1]}."
    )
    assert store.execute(last.sql).fetchall() == [(name,) for name in LIARS[:2]]
    assert f"quarantined  {LIARS[0]}, {LIARS[1]}" in render_verdict(verdict)
    assert verdict_from_json(verdict.to_json()).quarantined == LIARS[:2]


def test_a_quarantine_holds_from_when_it_was_said(store: duckdb.DuckDBPyConnection) -> None:
    """As of an earlier instant nobody knew, so that an old verdict can be recomputed."""
    say(store, LIARS, "quarantined", at=END + timedelta(minutes=5))
    assert judged(store, as_of=END + timedelta(minutes=4)).level is Level.APPLICATION
    assert judged(store, as_of=END + timedelta(minutes=6)).verdict_class is VerdictClass.HEALTHY


@pytest.mark.parametrize(
    ("states", "quarantined"),
    [
        (("enrolled",), False),
        (("enrolled", "quarantined"), True),
        (("quarantined", "enrolled"), False),
        (("quarantined", "revoked"), True),
        (("quarantined", "enrolled", "revoked"), False),
    ],
)
def test_which_states_weigh_nothing(
    store: duckdb.DuckDBPyConnection, states: tuple[str, ...], quarantined: bool
) -> None:
    """Who is revoked under quarantine is not believed after all; who was trusted again is."""
    for number, state in enumerate(states):
        say(store, ["v"], state, at=START + timedelta(seconds=number))
    found = ask(store, "quarantined", {"as_of": END.replace(tzinfo=None)})
    assert (found == [("v",)]) == quarantined


def test_a_new_probe_of_the_name_is_believed(store: duckdb.DuckDBPyConnection) -> None:
    """A machine that was set up anew under the old name does not inherit the distrust."""
    say(store, ["v"], "quarantined")
    say(store, ["v"], "revoked", at=START + timedelta(seconds=1))
    store.execute(
        "INSERT INTO probes (declaration_no, probe_id, name, state, recorded_at) "
        "VALUES (2, 'other', 'v', 'enrolled', $at)",
        {"at": START.replace(tzinfo=None) + timedelta(seconds=2)},
    )
    assert ask(store, "quarantined", {"as_of": END.replace(tzinfo=None)}) == []


def test_with_everybody_under_quarantine_nothing_is_said(store: duckdb.DuckDBPyConnection) -> None:
    """No voice is left: insufficient, and no word against the target."""
    say(store, (one.name for one in WORLD.vantages), "quarantined")
    assert judged(store).verdict_class is VerdictClass.INSUFFICIENT
