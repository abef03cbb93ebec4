"""Read a table of address ranges from CSV or Parquet, and keep on record which tables were in force.

Reading half a million rows takes seconds: call it from a worker thread.
"""

from __future__ import annotations

import csv
import gzip
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from coordinator.core.networks import Networks
from coordinator.core.ranges import Reading, Row, UnfitFileError, find_columns
from coordinator.store.statements import statement

ROWS_PER_CHUNK: Final = 20_000

DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
"""By the file's ending; `.gz` after it is unpacked on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Files of networks as they were read; `ranges` is None where they were refused, for `findings`."""

    path: str
    sha256: str | None
    modified_at_us: int | None
    read_at_us: int
    ranges: int | None
    findings: str | None = None


def read_networks(path: Path) -> Networks:
    """The table in a file. Raises UnfitFileError with every finding."""
    is_packed = path.suffix == ".gz"
    kind = Path(path.stem).suffix if is_packed else path.suffix
    try:
        if kind in DELIMITERS:
            return _settled(_csv_rows(path, DELIMITERS[kind], is_packed=is_packed))
        if kind == ".parquet":
            return _settled(_parquet_rows(path))
    except (csv.Error, UnicodeDecodeError, EOFError, OSError, duckdb.Error) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise UnfitFileError([f"it cannot be read ({said}); mend it, or name another"]) from error
    raise UnfitFileError(["its ending says no format; name it .csv, .tsv, .parquet or .mmdb"])


def _settled(rows: Iterator[Row]) -> Networks:
    """The first row names the columns."""
    names = [name or "" for name in next(rows, ())]
    reading = Reading(find_columns(names), len(names), _pack)
    reading.take(rows)
    reading.settle()
    return Networks(reading.spans, reading.places)


def _csv_rows(path: Path, delimiter: str, *, is_packed: bool) -> Iterator[Row]:
    opened = gzip.open if is_packed else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.reader(file, delimiter=delimiter, strict=True)


def _parquet_rows(path: Path) -> Iterator[Row]:
    with duckdb.connect() as con:
        con.execute("SET enable_progress_bar = false")
        result = con.execute(statement("read_ranges"), {"path": str(path)})
        yield [column[0] for column in result.description or ()]
        while rows := result.fetchmany(ROWS_PER_CHUNK):
            yield from rows


def _pack(text: str) -> bytes:
    """A tenth of what the standard library's address objects cost."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def record_networks(con: duckdb.DuckDBPyConnection, provenance: Provenance) -> None:
    """Write down which files were read and whether they hold now, in the caller's transaction."""
    values = {name: getattr(provenance, name) for name in Provenance.__slots__}
    con.execute(statement("insert_network_table"), values).fetchall()
