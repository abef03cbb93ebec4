"""One read-only question from a person, against a closed store.

The statement is parsed first: exactly one, and a SELECT or an EXPLAIN. It then runs inside a
read-only transaction with no reach outside the file, because a WITH clause may hide a write that the
parser still calls a SELECT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from analysis.store.opening import StoreError

_ALLOWED: Final = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


@dataclass(frozen=True, slots=True)
class Answer:
    """Column names and rows."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


def ask_freely(con: duckdb.DuckDBPyConnection, text: str) -> Answer:
    """Run one statement.

    Raises:
        StoreError: more than one statement, another kind, or the engine's own complaint.
    """
    try:
        statements = con.extract_statements(text)
        if len(statements) != 1 or statements[0].type not in _ALLOWED:
            raise StoreError("one SELECT or EXPLAIN, please: nothing else is allowed here")
        con.execute("SET enable_external_access = false")
        con.execute("BEGIN TRANSACTION READ ONLY")
        cursor = con.execute(text)
        columns = tuple(column[0] for column in cursor.description or ())
        rows = cursor.fetchall()
        con.execute("ROLLBACK")
    except duckdb.Error as error:
        raise StoreError(str(error)) from error
    return Answer(columns, rows)
