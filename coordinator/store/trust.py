"""What speaks for or against believing each probe, counted in SQL over the last hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from coordinator.core.trust import TrustFacts
from coordinator.store.statements import statement

WINDOW_US: Final = 6 * 3600 * 1_000_000
"""Of canaries and anchors: a liar is caught within it, and an evening's fault does not fill it."""

TIMES_WINDOW_US: Final = 3600 * 1_000_000
"""Of times: they are compared row by row, which never runs over more than an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A probe whose rows are counted from an instant on: at the earliest, the last decision."""

    probe_id: str
    name: str
    since_us: int


def count_facts(
    cursor: duckdb.DuckDBPyConnection, watched: Sequence[Watched], *, now_us: int
) -> dict[str, TrustFacts]:
    """The counts of each of these probes."""
    found: dict[str, dict[str, int]] = {one.probe_id: {} for one in watched}
    for name, window_us in (
        ("count_canaries", WINDOW_US),
        ("count_anchors", WINDOW_US),
        ("count_times", TIMES_WINDOW_US),
    ):
        for row in _counted(cursor, name, watched, since_us=now_us - window_us):
            found[row.pop("probe_id")] |= row
    return {probe_id: TrustFacts(**counts) for probe_id, counts in found.items()}


def _counted(
    cursor: duckdb.DuckDBPyConnection, name: str, watched: Iterable[Watched], *, since_us: int
) -> list[dict[str, Any]]:
    values: Mapping[str, list[Any]] = {
        "probe_ids": [one.probe_id for one in watched],
        "sinces_us": [max(one.since_us, since_us) for one in watched],
    }
    names = {"names": [one.name for one in watched]} if name == "count_anchors" else {}
    result = cursor.execute(statement(name), {**values, **names})
    columns = [column[0] for column in result.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def forget_canaries(con: duckdb.DuckDBPyConnection, *, before_us: int) -> None:
    """Let go of old answers, in the caller's transaction."""
    con.execute(statement("forget_canaries"), {"before_us": before_us}).fetchall()
