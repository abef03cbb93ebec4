"""Open a store, and say plainly why it cannot be opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb

from analysis.store.migrations import migrate, upgrade
from proto.model import SoundingsError

# A file that older DuckDB programs can read as well; it costs five per cent of CPU on writing.
STORAGE_VERSION: Final = "v1.5.0"


Connection = duckdb.DuckDBPyConnection


class StoreError(SoundingsError):
    """The store cannot be opened, or a question to it is not allowed."""


@contextmanager
def open_to_read(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A closed store, read-only.

    Raises:
        StoreError: there is no such file, another process has it open, or it is no store.
    """
    try:
        there = path.is_file()
    except PermissionError as error:
        raise StoreError(f"{path}: this user may not read it; ask its owner, or copy it") from error
    if not there:
        raise StoreError(
            f"{path}: there is no such store; name one with --db, or import rows first"
        )
    con = _connect(path, read_only=True)
    try:
        yield con
    finally:
        con.close()


@contextmanager
def open_to_write(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A store with the newest schema, made when it is not there; an older one is kept beside it.

    Raises:
        StoreError: another process has it open, or it is no store.
        SchemaError: a newer program wrote it, or it could not be brought to the newest schema.
    """
    if not path.exists():
        _create(path)
    try:
        upgrade(path)
    except duckdb.IOException as error:
        raise StoreError(_why(path, str(error))) from error
    con = _connect(path, read_only=False)
    try:
        migrate(con)
        yield con
    finally:
        con.close()


@contextmanager
def open_in_memory() -> Iterator[duckdb.DuckDBPyConnection]:
    """A store that is gone afterwards."""
    con = duckdb.connect()
    try:
        _settle(con)
        migrate(con)
        yield con
    finally:
        con.close()


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    quoted = str(path).replace("'", "''")
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{quoted}' AS made (STORAGE_VERSION '{STORAGE_VERSION}')")


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        con = duckdb.connect(str(path), read_only=read_only)
    except duckdb.IOException as error:
        raise StoreError(_why(path, str(error))) from error
    _settle(con)
    return con


def _settle(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET enable_progress_bar = false")


def _why(path: Path, text: str) -> str:
    if "could not set lock" in text.lower():
        return (
            f"{path}: another program has it open, most likely a running coordinator; ask that one "
            "(its page lists verdicts under /api/verdicts), or stop it first"
        )
    return f"{path}: cannot be opened as a store: {text.splitlines()[0]}"
