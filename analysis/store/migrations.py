"""The schema of the store, brought up to date from the numbered files of `proto.schema`.

Each file runs once, in one transaction with the row that records it, so a store is never between
two versions. A store from a newer program is refused rather than half understood.
"""

from __future__ import annotations

import re
from importlib.resources import files
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


class SchemaError(SoundingsError):
    """The store's schema is not one that this program knows."""


def known_migrations() -> tuple[tuple[int, str, str], ...]:
    """(version, file name, text) of every migration, in order."""
    found = [
        (int(match[1]), entry.name, entry.read_text(encoding="utf-8"))
        for entry in files("proto.schema").iterdir()
        if (match := _NAME.match(entry.name))
    ]
    return tuple(sorted(found))


def migrate(con: duckdb.DuckDBPyConnection) -> None:
    """Bring the store to the newest schema; does nothing when it is there already.

    Raises:
        SchemaError: the store was written by a newer program.
    """
    con.execute(_VERSIONS)
    done = {row[0] for row in con.execute("SELECT version FROM schema_version").fetchall()}
    known = known_migrations()
    unknown = done - {version for version, _, _ in known}
    if unknown:
        raise SchemaError(
            f"the store has schema version {max(unknown)}, this program knows up to "
            f"{max(version for version, _, _ in known)}: use the newer program, or another file"
        )
    for version, name, text in known:
        if version not in done:
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
