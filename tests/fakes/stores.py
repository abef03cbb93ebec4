"""Worlds as files and as stores, through the same import that people use."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from analysis.store import import_rows, migrate


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Rows in the batch contract's columns; what is not known stays empty."""
    listed = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(listed[0]))
        writer.writeheader()
        writer.writerows(
            {
                name: value.isoformat() if isinstance(value, datetime) else value
                for name, value in row.items()
            }
            for row in listed
        )
    return path


def store_of(path: Path) -> duckdb.DuckDBPyConnection:
    """A store in memory with the rows of one file."""
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    migrate(con)
    import_rows(con, path)
    return con
