"""The schema of the store, brought up to date from the numbered files of `proto.schema`.

Each file runs once, in one transaction with the row that records it, so a store is never between
two versions. A store from a newer program is refused rather than half understood.

A file that holds rows is not migrated where it lies: a full disk, a kill or a wrong migration would
leave nothing to go back to. `upgrade` migrates a copy, which takes the place of the file when it is
whole; the file as it was stays beside it, under a name of its own that is never given twice.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Final

import duckdb

from proto.model import SoundingsError

_NAME: Final = re.compile(r"^(\d{4})_\w+\.sql$")
_VERSIONS: Final = """
CREATE TABLE IF NOT EXISTS schema_version (
    version UINTEGER NOT NULL, name VARCHAR NOT NULL, applied_at TIMESTAMP NOT NULL
)
"""
# Both statements are the runner's own book-keeping; everything else lives in the numbered files.
_RECORD: Final = "INSERT INTO schema_version VALUES (?, ?, current_timestamp AT TIME ZONE 'UTC')"

_MARGIN_BYTES: Final = 64 << 20
"""What a migration may add to the copy: new columns and views, no second copy of the rows."""

Migration = tuple[int, str, str]
"""Version, file name, text."""


class SchemaError(SoundingsError):
    """The store's schema is not one that this program knows, or could not be brought to one."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A file that was brought to a newer schema, and where the one before it is kept."""

    before: int
    after: int
    kept: Path


def known_migrations() -> tuple[Migration, ...]:
    """(version, file name, text) of every migration, in order."""
    found = [
        (int(match[1]), entry.name, entry.read_text(encoding="utf-8"))
        for entry in files("proto.schema").iterdir()
        if (match := _NAME.match(entry.name))
    ]
    return tuple(sorted(found))


def version_of(con: duckdb.DuckDBPyConnection) -> int:
    """The schema version of a store; 0 = it has no schema yet."""
    there = con.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'schema_version'"
    ).fetchall()
    if there == [(0,)]:
        return 0
    [(version,)] = con.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchall()
    return int(version)


def migrate(con: duckdb.DuckDBPyConnection, *, known: tuple[Migration, ...] | None = None) -> None:
    """Bring the store to the newest schema; does nothing when it is there already.

    Raises:
        SchemaError: the store was written by a newer program.
        duckdb.Error: a migration failed; the store is at the last version that went through.
    """
    known = known_migrations() if known is None else known
    done = version_of(con)
    if done > known[-1][0]:
        raise SchemaError(
            f"the store has schema version {done}, this program knows up to {known[-1][0]}: use the "
            "newer program that wrote it, or name another file or directory"
        )
    con.execute(_VERSIONS)
    for version, name, text in known:
        if version > done:
            _apply(con, version, name=name, text=text)


def _apply(con: duckdb.DuckDBPyConnection, version: int, *, name: str, text: str) -> None:
    con.execute("BEGIN TRANSACTION")
    try:
        con.execute(text)
        con.execute(_RECORD, [version, name])
    except duckdb.Error:
        con.execute("ROLLBACK")
        raise
    con.execute("COMMIT")


def upgrade(path: Path, *, known: tuple[Migration, ...] | None = None) -> Upgraded | None:
    """Bring the file of a store that nobody has open to the newest schema; None = it needs none.

    Raises:
        SchemaError: it cannot be done now; the file is as it was.
        duckdb.Error: it cannot be opened.
    """
    known = known_migrations() if known is None else known
    with duckdb.connect(path) as con:
        before = version_of(con)
        if before == 0 or before >= known[-1][0]:
            return None
        con.execute("CHECKPOINT")  # the copy is of one file, without the log beside it
    copy = path.with_name(f"{path.name}.upgrading")
    try:
        _need_room(path)
        _copy(path, copy)
        with duckdb.connect(copy) as con:
            migrate(con, known=known)
        _sync(copy)
        kept = _keep(path, before)
        copy.replace(path)
        _sync(path.parent)
    except (duckdb.Error, OSError) as error:
        raise SchemaError(
            f"{path}: it could not be brought from schema version {before} to {known[-1][0]} "
            f"({str(error).splitlines()[0]}); the file is as it was: make room or mend what is "
            "said, then start again, or go on with the program before"
        ) from error
    finally:
        for leftover in (copy, copy.with_name(f"{copy.name}.wal")):
            leftover.unlink(missing_ok=True)
    return Upgraded(before, known[-1][0], kept)


def _need_room(path: Path) -> None:
    need = path.stat().st_size + _MARGIN_BYTES
    free = shutil.disk_usage(path.parent).free
    if free < need:
        raise OSError(f"a copy needs {need >> 20} MiB beside it, {free >> 20} MiB are free")


def _copy(path: Path, to: Path) -> None:
    to.unlink(missing_ok=True)
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with path.open("rb") as source, os.fdopen(descriptor, "wb") as target:
        os.fchmod(target.fileno(), path.stat().st_mode & 0o777)
        shutil.copyfileobj(source, target, 4 << 20)


def _keep(path: Path, version: int) -> Path:
    """A second name for the file as it is; a name that is taken by another file is left alone."""
    for turn in count(1):
        kept = path.with_name(f"{path.name}.schema-{version}" + (f".{turn}" if turn > 1 else ""))
        try:
            kept.hardlink_to(path)
        except FileExistsError:
            if not kept.samefile(path):  # else an upgrade that ended between two steps made it
                continue
        return kept
    raise AssertionError("count never ends")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
