"""Take in a file of foreign rows: all of it, once, or nothing.

The file is read as text into a staging table, every column is checked there, and only a file without
a finding is copied into `cells`, in one transaction with its fingerprint. The same file again is
recognised by that fingerprint and changes nothing. A row's line counts the header of a CSV file.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

import duckdb

from analysis.replay.contract import BY_NAME, COLUMNS, REQUIRED, Column
from analysis.replay.errors import MOST_FINDINGS, BadFileError
from analysis.store.questions import ask

READERS: Final = {
    ".csv": "SELECT * FROM read_csv(?, header = true, all_varchar = true, nullstr = '', "
    "sample_size = -1, strict_mode = true)",
    ".parquet": "SELECT * FROM read_parquet(?)",
    ".jsonl": "SELECT * FROM read_json(?, format = 'newline_delimited', sample_size = -1)",
}
_HEADER_LINES: Final = {".csv": 1}


@dataclass(frozen=True, slots=True)
class Imported:
    """How many rows were taken in; none when the file had been taken in before."""

    rows: int
    known: bool


def import_rows(con: duckdb.DuckDBPyConnection, path: Path) -> Imported:
    """Check a file against the batch contract and add its rows to `cells`.

    Raises:
        BadFileError: with every finding; the store is as it was.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise BadFileError(
            (f"{path}: the name ends in {path.suffix!r}; use .csv, .parquet or .jsonl",)
        )
    if not path.is_file():
        raise BadFileError((f"{path}: there is no such file",))
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    if ask(con, "import_known", {"sha256": digest}):
        return Imported(0, known=True)
    con.execute("BEGIN TRANSACTION")
    try:
        rows = _take_in(con, path, reader=reader, digest=digest)
    except (BadFileError, duckdb.Error):
        con.execute("ROLLBACK")
        raise
    con.execute("COMMIT")
    return Imported(rows, known=False)


def _take_in(con: duckdb.DuckDBPyConnection, path: Path, *, reader: str, digest: str) -> int:
    columns = _stage(con, path, reader)
    findings = _check(con, path, columns)
    if findings:
        raise BadFileError(tuple(findings))
    wanted = ", ".join(f"{_typed(BY_NAME[name])} AS {name}" for name in columns)
    filled = "" if "bin_s" in columns else ", 0 AS bin_s"
    con.execute(
        f"INSERT INTO cells BY NAME SELECT * REPLACE (coalesce(bin_s, 0) AS bin_s) "  # noqa: S608 - names are checked against the contract
        f"FROM (SELECT {wanted}{filled} FROM staged)"
    )
    counted = con.execute("SELECT count(*) FROM staged").fetchall()[0][0]
    values = {"path": str(path), "sha256": digest, "rows": counted}
    ask(con, "import_record", values)
    con.execute("DROP TABLE staged")
    return int(counted)


def _stage(con: duckdb.DuckDBPyConnection, path: Path, reader: str) -> list[str]:
    """Every known column as text, with its line; the names as they stand in the file."""
    try:
        found = con.execute(f"DESCRIBE {reader}", [str(path)]).fetchall()
        columns = [row[0] for row in found]
        unknown = [name for name in columns if name not in BY_NAME]
        missing = [name for name in REQUIRED if name not in columns]
        if unknown or missing:
            raise BadFileError(tuple(_wrong_columns(path, unknown, missing)))
        header = _HEADER_LINES.get(path.suffix.lower(), 0)
        texts = ", ".join(f"{_text(name)} AS {name}" for name in columns)
        con.execute(
            f"CREATE TEMP TABLE staged AS SELECT row_number() OVER () + {header} AS line, {texts} "  # noqa: S608 - names are checked against the contract
            f"FROM ({reader})",
            [str(path)],
        )
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise BadFileError((f"{path}: cannot be read: {first}",)) from error
    return columns


def _wrong_columns(path: Path, unknown: list[str], missing: list[str]) -> list[str]:
    known = ", ".join(column.name for column in COLUMNS)
    findings = [
        f"{path}: column {name!r} is not in the contract; remove or rename it (known: {known})"
        for name in unknown
    ]
    return findings + [f"{path}: column {name!r} is missing; add it" for name in missing]


def _text(name: str) -> str:
    """A value as text; an empty text and a float that is not a number mean not known."""
    plain = f"CAST({name} AS VARCHAR)"
    return f"CASE WHEN {plain} IN ('', 'nan', 'NaN') THEN NULL ELSE {plain} END"


def _typed(column: Column) -> str:
    """The SQL that turns a column's text into its value, or NULL when it does not fit."""
    name = column.name
    if column.sort == "stamp":
        return f"TRY_CAST({name} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
    if column.sort == "whole":
        real = f"TRY_CAST({name} AS DOUBLE)"
        return f"CASE WHEN {real} = floor({real}) THEN CAST({real} AS BIGINT) END"
    if column.sort == "real":
        return f"TRY_CAST({name} AS DOUBLE)"
    if name == "family":
        return f"CAST(TRY_CAST({name} AS DOUBLE) AS UTINYINT)"
    return name


def _check(con: duckdb.DuckDBPyConnection, path: Path, columns: list[str]) -> list[str]:
    findings: list[tuple[int, str]] = []
    for name in columns:
        column = BY_NAME[name]
        bad = con.execute(
            f"SELECT line, {name} FROM staged WHERE {_wrong(column)} "  # noqa: S608 - names are checked against the contract
            "ORDER BY line LIMIT ?",
            [*_limits(column), MOST_FINDINGS],
        ).fetchall()
        findings += [(line, _finding(path, column, line=line, value=text)) for line, text in bad]
    findings += _impossible_counts(con, path) if not findings else []
    return [text for _, text in sorted(findings)]


def _wrong(column: Column) -> str:
    """The condition that finds values which break the contract."""
    name, empty = column.name, f"{column.name} IS NULL"
    required = f"({empty})" if column.required else "false"
    if column.sort == "text":
        return required
    if column.sort == "word":
        plain = f"regexp_replace({name}, '\\.0$', '')" if name == "family" else name
        return f"{required} OR (NOT {empty} AND NOT list_contains(CAST(? AS VARCHAR[]), {plain}))"
    value = _typed(column)
    if column.sort == "stamp":
        return f"{required} OR (NOT {empty} AND ({value}) IS NULL)"
    outside = f"({value}) < ? OR ({value}) > coalesce(CAST(? AS DOUBLE), ({value}))"
    return f"{required} OR (NOT {empty} AND (({value}) IS NULL OR isinf(CAST(({value}) AS DOUBLE)) OR {outside}))"


def _limits(column: Column) -> list[Any]:
    if column.sort == "word":
        return [list(column.words)]
    return [column.low, column.high] if column.sort in {"whole", "real"} else []


def _finding(path: Path, column: Column, *, line: int, value: str | None) -> str:
    shown = "empty" if value is None else repr(value)
    return f"{path}: line {line}: {column.name} is {shown}; {column.fix}"


def _impossible_counts(con: duckdb.DuckDBPyConnection, path: Path) -> list[tuple[int, str]]:
    rows = con.execute(
        "SELECT line, sent, lost FROM staged WHERE CAST(lost AS DOUBLE) > CAST(sent AS DOUBLE) "
        "ORDER BY line LIMIT ?",
        [MOST_FINDINGS],
    ).fetchall()
    return [
        (line, f"{path}: line {line}: lost is {lost!r} with sent {sent!r}; it cannot exceed sent")
        for line, sent, lost in rows
    ]
