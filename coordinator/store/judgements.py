"""Judgements on record: written in revisions, and read back to go on after a restart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from analysis.core.verdict import Interval, Verdict
from coordinator.core.revision import Revision, Subject, changes_answer, next_revision, verdict_id
from coordinator.core.watermark import Stage
from coordinator.store.rollup import micros, utc
from coordinator.store.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A revision that was written; `changed` says that it contradicts the one before it."""

    verdict_id: str
    revision: int
    changed: bool


def record_verdicts(
    connection: duckdb.DuckDBPyConnection, verdicts: Sequence[Verdict], *, stage: Stage
) -> tuple[Recorded, ...]:
    """Write each verdict as the next revision of its name; one that rests on no more is left out.

    Belongs inside a transaction of the caller's.
    """
    names = [name_of(verdict) for verdict in verdicts]
    known = _known(connection, names)
    written = []
    for name, verdict in zip(names, verdicts, strict=True):
        last = known.get(name)
        number = next_revision(last, as_of_us=micros(_naive(verdict.as_of)))
        if number is None:
            continue
        row = _verdict_row(verdict, name=name, number=number, stage=stage)
        connection.execute(statement("insert_verdict"), row)
        changed = changes_answer(
            last, level=verdict.level.value, verdict_class=verdict.verdict_class.value
        )
        written.append(Recorded(verdict_id=name, revision=number, changed=changed))
    return tuple(written)


def name_of(verdict: Verdict) -> str:
    """The verdict's name: what it is about, not what it says."""
    return verdict_id(
        Subject(verdict.service, verdict.component),
        from_us=micros(_naive(verdict.window_from)),
        to_us=micros(_naive(verdict.window_to)),
        scenario=verdict.scenario,
    )


def _known(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> dict[str, Revision]:
    found = connection.execute(statement("known_revisions"), {"ids": list(names)}).fetchall()
    return {
        name: Revision(number=number, as_of_us=as_of, level=level, verdict_class=verdict_class)
        for name, number, as_of, level, verdict_class in found
    }


def _verdict_row(verdict: Verdict, *, name: str, number: int, stage: Stage) -> dict[str, Any]:
    return {
        "verdict_id": name,
        "revision": number,
        "scenario": verdict.scenario,
        "service": verdict.service,
        "component": verdict.component,
        "window_from": _naive(verdict.window_from),
        "window_to": _naive(verdict.window_to),
        "as_of": _naive(verdict.as_of),
        "stage": stage.value,
        "level": verdict.level.value,
        "class": verdict.verdict_class.value,
        "target_class": verdict.target_class.value,
        "source_class": verdict.source_class.value,
        "probability": verdict.probability,
        "certified_f": verdict.certified_f,
        **bounds("onset", verdict.onset),
        **bounds("end", verdict.end),
        "sentence": verdict.sentence,
        "reasons": " ".join(verdict.reasons) or None,
        "model_version": verdict.model_version,
        "body": json.dumps(verdict.to_json()),
    }


def bounds(name: str, interval: Interval | None) -> dict[str, datetime | None]:
    """An interval as the two columns `<name>_from` and `<name>_to`."""
    if interval is None:
        return {f"{name}_from": None, f"{name}_to": None}
    return {f"{name}_from": _naive(interval.low), f"{name}_to": _naive(interval.high)}


def _naive(at: datetime) -> datetime:
    """A stamp as DuckDB's TIMESTAMP takes it."""
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at


def unanswered_windows(
    connection: duckdb.DuckDBPyConnection, *, bin_us: int, width_us: int, since_us: int
) -> frozenset[int]:
    """Starts of windows that were counted and not judged since, as after a crash in between."""
    given = {"since": utc(since_us), "bin_s": bin_us // 1_000_000, "width_us": width_us}
    found = connection.execute(statement("unanswered_windows"), given).fetchall()
    return frozenset(start for (start,) in found)


def record_incidents(
    connection: duckdb.DuckDBPyConnection, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Append incident revisions; each mapping has one entry per column of the table."""
    for row in rows:
        connection.execute(statement("insert_incident"), dict(row))
