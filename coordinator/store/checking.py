"""Is a store whole? Every question that `store/checks` has, and four that SQL alone cannot ask.

The file is opened read-only and nothing is repaired: what is wrong is told with examples, so that
whoever reads it can decide between a backup and a repair. Cells are judged by counting their bins
again from the results with the statement that counted them; bins that the coordinator would count
anew anyway (a row was committed after the count) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import duckdb

from analysis.store import known_migrations, migrate, version_of
from coordinator.store.open import told_of
from coordinator.store.rollup import recount
from coordinator.store.statements import statement
from coordinator.store.survey import reading

EXAMPLES_MAX: Final = 3
"""Shown of each kind of damage."""

FOUND_MAX: Final = 1000
"""Exceptions counted of each kind; beyond that it is «at least»."""

BINS_AT_ONCE: Final = 60

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Damage:
    """One kind of damage: its name, what is wrong, how often it was found, and examples."""

    name: str
    sentence: str
    count: int
    examples: tuple[str, ...]


def questions() -> dict[str, str]:
    """The text of every question by its name."""
    entries = files("coordinator.store.checks").iterdir()  # compiled files may lie beside them
    texts = {one.name: one.read_text("utf-8") for one in entries if one.name.endswith(".sql")}
    return {name.removesuffix(".sql"): texts[name] for name in sorted(texts)}


def check_store(path: Path, *, tell: Callable[[str], None] = lambda _: None) -> list[Damage]:
    """Everything that is wrong with the file; `tell` is told what is being looked at.

    Raises:
        StoreOpenError: it cannot be opened at all.
    """
    with reading(path) as con:
        tell("schema")
        found = [*_schema(con)]
        if found:
            return found  # no question could be trusted
        tell("every block of every table")
        found += _blocks(con)
        if found:
            return found
        for name, text in questions().items():
            tell(name)
            found += _ask(con, name, text)
    tell("cells, counted again")
    return [*found, *_cells(path)]


def check_registry(path: Path, registry: Path) -> list[Damage]:
    """What the registry beside a store does not know: whoever is missing there can never come back.

    Raises StoreOpenError when either cannot be opened.
    """
    with reading(path) as con:
        stored = {row[0] for row in con.execute(statement("stored_probes")).fetchall()}
    with reading(registry) as con, told_of(registry):
        known = [row[0] for row in con.execute(statement("registered_probes")).fetchall()]
    twice = sorted({probe_id for probe_id in known if known.count(probe_id) > 1})
    return [
        *_damage(
            "unregistered_probes",
            "probes of results are not in the registry",
            sorted(stored - {*known}),
        ),
        *_damage("duplicate_probes", "a probe is in the registry twice", twice),
    ]


def _damage(name: str, sentence: str, exceptions: list[Any]) -> list[Damage]:
    examples = tuple(str(one) for one in exceptions[:EXAMPLES_MAX])
    return [Damage(name, sentence, len(exceptions), examples)] if exceptions else []


# --- the file -----------------------------------------------------------------------------------


def _schema(con: Connection) -> list[Damage]:
    version, newest = version_of(con), known_migrations()[-1][0]
    if version == 0 or version > newest:
        return _damage("schema_version", f"this program knows 1 to {newest}", [version])
    with duckdb.connect() as fresh:
        migrate(fresh, known=known_migrations()[:version])
        lacking = _shape(fresh) - _shape(con)
    return _damage("schema", f"it is not what version {version} has; missing", sorted(lacking))


def _shape(con: Connection) -> set[tuple[str, str, str]]:
    return set(con.execute(statement("shape")).fetchall())


def _blocks(con: Connection) -> list[Damage]:
    """Reading every value has every block compared with its checksum."""
    broken = []
    for (name,) in con.execute(statement("table_names")).fetchall():
        try:
            con.table(name).aggregate("bit_xor(hash(COLUMNS(*)))").fetchall()
        except duckdb.Error as error:
            broken.append(f"{name}: {str(error).splitlines()[0][:200]}")
    return _damage("unreadable_blocks", "tables cannot be read to their end", broken)


def _ask(con: Connection, name: str, text: str) -> list[Damage]:
    result = con.execute(text)
    columns = [column[0] for column in result.description or ()]
    rows = result.fetchmany(FOUND_MAX)
    con.execute("SELECT 1").fetchall()  # ends a question that had more to say
    sentence = text.splitlines()[0].removeprefix("-- ")
    told = [", ".join(f"{c} {v}" for c, v in zip(columns, row, strict=True)) for row in rows]
    return _damage(name, sentence, told)


# --- cells --------------------------------------------------------------------------------------


@contextmanager
def _beside(path: Path) -> Iterator[Connection]:
    """A store in memory whose results are those of the file, and whose cells are empty."""
    with duckdb.connect(config={"threads": "1"}) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET enable_progress_bar = false")
        quoted = str(path).replace("'", "''")
        con.execute(f"ATTACH '{quoted}' AS held (READ_ONLY)")
        con.execute(statement("beside_store"))
        yield con


def _cells(path: Path) -> list[Damage]:
    with _beside(path) as con:
        wrong = [
            f"{row[0]:%Y-%m-%d %H:%M:%S} {'/'.join(map(str, row[1:5]))}: {row[5]} sent {row[6]} lost {row[7]}"
            for (bin_s,) in con.execute(statement("widths_counted")).fetchall()
            for bins in _pages(con, bin_s)
            for row in _recount(con, bins, bin_s=bin_s)
        ]
    return _damage("cells_differ", "cells are not what their results come to", wrong[:FOUND_MAX])


Bins = dict[datetime, tuple[datetime, int]]
"""By the start of a bin: up to when it was last counted, and over how many rows."""


def _pages(con: Connection, bin_s: int) -> Iterator[Bins]:
    """Counted bins, some at a time."""
    after = datetime.min  # noqa: DTZ901  # stamps of the store are UTC without a zone
    while True:
        given = {"after": after, "bin_s": bin_s, "bins": BINS_AT_ONCE}
        found = con.execute(statement("bins_counted"), given).fetchall()
        if not found:
            return
        after = found[-1][0]
        yield {bin_at: (until, rows) for bin_at, until, rows, settled in found if settled}


def _recount(con: Connection, bins: Bins, *, bin_s: int) -> list[tuple[Any, ...]]:
    con.execute("DELETE FROM cells")
    recount(con, bins, bin_us=bin_s * 1_000_000)
    return con.execute(statement("cells_differ"), {"bins": [*bins], "bin_s": bin_s}).fetchall()
