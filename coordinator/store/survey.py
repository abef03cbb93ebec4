"""What a store's file holds, asked of a file that nobody writes to: a backup, or one at rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from analysis.store import version_of
from coordinator.store.open import TEMP_LIMIT, StoreOpenError, connect, told_of
from coordinator.store.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """`marks`: by probe and boot (16 hex digits) the highest report that is stored."""

    schema_version: int
    config_version: int
    config_text: str
    tables: dict[str, int]
    marks: dict[str, dict[str, int]]


@contextmanager
def reading(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A file, read-only. Raises StoreOpenError when it cannot be read."""
    try:
        con = duckdb.connect(
            path,
            read_only=True,
            config={"memory_limit": "1GB", "max_temp_directory_size": TEMP_LIMIT, "threads": "1"},
        )
    except duckdb.Error as error:
        raise StoreOpenError(f"{path}: {str(error).splitlines()[0]}") from error
    try:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET enable_progress_bar = false")
        yield con
    finally:
        con.close()


def settle(path: Path) -> None:
    """Bring everything that was committed into the file itself; nobody has it open.

    Raises StoreOpenError when it cannot be opened.
    """
    with told_of(path), connect(path) as con:
        con.execute("CHECKPOINT")


def survey(path: Path) -> Survey:
    """What the file holds. Raises StoreOpenError when it cannot be read, or is damaged."""
    with told_of(path), reading(path) as con:
        latest = con.execute(statement("newest_config")).fetchall()
        version, text = latest[0] if latest else (0, "")
        marks: dict[str, dict[str, int]] = {}
        for probe_id, epoch, mark in con.execute(statement("read_marks")).fetchall():
            marks.setdefault(probe_id, {})[f"{epoch:016x}"] = mark
        return Survey(
            schema_version=version_of(con),
            config_version=version,
            config_text=text,
            tables=_counts(con),
            marks=marks,
        )


def _counts(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    names = con.execute(statement("table_names")).fetchall()
    counts = {}
    for (name,) in names:
        ((count,),) = con.table(name).count("*").fetchall()
        counts[name] = count
    return counts
