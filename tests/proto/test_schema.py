"""The schema speaks the vocabulary, explains itself, and derives what never came."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from importlib.resources import files

import duckdb
import pytest

from proto.model import (
    Control,
    Failure,
    Kind,
    Operation,
    Reason,
    Result,
    Role,
    StampSource,
    State,
    Trigger,
    Validity,
)
from tests.fakes.facts import SECOND_US, T0_US, Fact, write


@pytest.fixture
def store() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty store in memory."""
    with duckdb.connect() as connection:
        for path in sorted(files("proto.schema").iterdir(), key=lambda p: p.name):
            if path.name.endswith(".sql"):
                connection.execute(path.read_text())
        yield connection


def test_each_step_of_the_schema_has_a_number_of_its_own() -> None:
    """1, 2, 3 without a gap: of two steps of one number a store would take but one."""
    names = [p.name for p in files("proto.schema").iterdir() if p.name.endswith(".sql")]
    assert sorted(int(name[:4]) for name in names) == list(range(1, len(names) + 1))


@pytest.mark.parametrize(
    ("type_name", "words"),
    [
        ("kind_word", Kind),
        ("role_word", Role),
        ("state_word", State),
        ("reason_word", Reason),
        ("validity_word", Validity),
        ("operation_word", Operation),
        ("failure_word", Failure),
        ("stamp_word", StampSource),
        ("control_word", Control),
        ("trigger_word", Trigger),
    ],
)
def test_the_store_knows_exactly_the_words(
    store: duckdb.DuckDBPyConnection, type_name: str, words: type[StrEnum]
) -> None:
    """An enumeration of the store holds the words of the model, in their order."""
    held = store.execute(f"SELECT enum_range(NULL::{type_name})").fetchall()[0][0]
    assert held == [word.value for word in words]


def test_every_table_and_view_says_what_it_is(store: duckdb.DuckDBPyConnection) -> None:
    """Each table and view carries a comment in the file itself."""
    silent = store.execute(
        "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL AND NOT internal "
        "UNION ALL "
        "SELECT view_name FROM duckdb_views() WHERE comment IS NULL AND NOT internal"
    ).fetchall()
    assert silent == []


def test_every_column_says_what_it_means(store: duckdb.DuckDBPyConnection) -> None:
    """Each column carries a comment, but for those that mean what they mean in the view results."""
    columns = store.execute(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
    ).fetchall()
    explained = {name for table, name, about in columns if table == "results" and about}
    silent = [(table, name) for table, name, about in columns if not about]
    parts_of_results = {"result_rows", "result_facts"}
    assert [
        (table, name)
        for table, name in silent
        if table not in parts_of_results or name not in explained
    ] == []


def test_results_keep_every_field_of_a_row(store: duckdb.DuckDBPyConnection) -> None:
    """No field of a Result is lost in the table but for its change of unit."""
    held = {row[0] for row in store.execute("DESCRIBE results").fetchall()} | {"hops"}
    fields = {name for name in Result.__slots__ if name not in held}
    assert {name for name in fields if not _in_another_unit(name, held)} == set()


def _in_another_unit(name: str, held: set[str]) -> bool:
    return name.removesuffix("_us") in held or name.replace("_us", "_ms") in held


PLAN = "INSERT INTO plans VALUES ('p', 1, 1, 7, 1000000, 250000, '2026-01-01 00:00:00.1', ?)"


def _report(
    store: duckdb.DuckDBPyConnection,
    *,
    slot: str,
    received: str,
    failure: str | None,
    trigger: str = "schedule",
) -> None:
    write(
        store,
        [
            Fact(
                slot_at_us=T0_US + round(float(slot) * SECOND_US),
                received_at_us=T0_US + int(received) * SECOND_US,
                probe_id="p",
                check_no=7,
                failure=failure,
                trigger=trigger,
            )
        ],
    )


def test_a_slot_that_came_again_stands_in_the_ledger_once(
    store: duckdb.DuckDBPyConnection,
) -> None:
    """Of several rows of one slot the first received holds, in whatever order they were stored."""
    store.execute(PLAN, ["2026-01-01 00:00:03"])
    _report(store, slot="01.25", received="09", failure=None)
    _report(store, slot="01.25", received="02", failure="timeout")
    _report(store, slot="01.25", received="05", failure="reset")
    found = store.execute("SELECT state, failure FROM ledger ORDER BY slot_at").fetchall()
    assert found == [("unreported", None), ("measured", "timeout"), ("unreported", None)]


def test_a_slot_that_never_came_is_unreported(store: duckdb.DuckDBPyConnection) -> None:
    """The ledger names each due slot once, and those without a row as unreported."""
    store.execute(PLAN, ["2026-01-01 00:00:03"])
    _report(store, slot="01.25", received="02", failure=None)
    states = store.execute("SELECT state FROM ledger ORDER BY slot_at").fetchall()
    assert states == [("unreported",), ("measured",), ("unreported",)]


def test_a_confirmation_fills_no_slot(store: duckdb.DuckDBPyConnection) -> None:
    """What was tried because of a failure stands beside the ledger, whenever it came."""
    store.execute(PLAN, ["2026-01-01 00:00:03"])
    _report(store, slot="00.25", received="01", failure=None, trigger="confirmation")
    _report(store, slot="01.25", received="02", failure=None, trigger="confirmation")
    _report(store, slot="01.25", received="03", failure="timeout")
    found = store.execute("SELECT state, failure FROM ledger ORDER BY slot_at").fetchall()
    assert found == [("unreported", None), ("measured", "timeout"), ("unreported", None)]


def test_a_check_without_slots_owes_none(store: duckdb.DuckDBPyConnection) -> None:
    """What runs only when something fails is never missing."""
    store.execute("INSERT INTO plans VALUES ('p', 1, 1, 7, 0, 0, '2026-01-01', '2026-01-02')")
    assert store.execute("SELECT count(*) FROM ledger").fetchall() == [(0,)]


def test_a_plan_still_in_force_is_due_up_to_the_last_report(
    store: duckdb.DuckDBPyConnection,
) -> None:
    """Nothing is called unreported that could not have been reported yet."""
    store.execute(PLAN, [None])
    store.execute("INSERT INTO batches VALUES ('p', 1, 1, 1, '2026-01-01 00:00:02')")
    assert store.execute("SELECT count(*) FROM ledger").fetchall() == [(2,)]
