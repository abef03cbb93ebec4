"""One commit group: many reports, one transaction, and one bad report costs the others nothing.

The group is judged as a whole (coordinator.core.intake), the refused are left out, the rest is
merged again and inserted with its high-water marks. Should the store itself refuse the rows, the
group is halved until the report at fault stands alone: a poison report would otherwise fail every
group it is in, for ever, and hold up the whole fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import duckdb
import numpy as np
import structlog

from coordinator.core.intake import (
    BatchName,
    Flags,
    allowed_checks,
    name_fates,
    refuse_group,
)
from coordinator.store.certificates import read_certificate
from coordinator.store.facts import Facts, Values, read_facts
from coordinator.store.insert import REGISTERED, Columns, arriving_reports, insert_results
from coordinator.store.merge import Merged, merge
from coordinator.store.rows import BatchRow, CertificateRow, RejectRow, Row, insert_rows
from coordinator.store.statements import statement
from proto.codec import fingerprint

DATA_ERRORS: Final = (duckdb.DataError, duckdb.IntegrityError, duckdb.ProgrammingError, ValueError)
"""What DuckDB raises for rows it cannot take, as opposed to a disk or a process in trouble."""

TROUBLE: Final = (duckdb.Error, OSError, MemoryError)
"""What a disk or a process in trouble raises, DATA_ERRORS apart: worth another try."""


_LOG: Final = structlog.get_logger("store")


class Fate(StrEnum):
    """What became of a report."""

    COMMITTED = "committed"  # durable: acknowledge
    DUPLICATE = "duplicate"  # durable since before: acknowledge again
    REJECTED = "rejected"  # will never be taken: say why
    DEFERRED = "deferred"  # the store is in trouble: the probe keeps it and comes again


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One report that passed `check_body`. `reply` is called on the event loop, exactly once.

    `session` numbers the stream it came on: once a report of a stream is deferred, so are all that
    follow it on that stream, or a later one would be committed, raise the high-water mark, and make
    the deferred one a duplicate of nothing.
    """

    name: BatchName
    session: int
    rows: int
    body: bytes = field(repr=False)
    received_at_us: int
    reply: Callable[[Fate, str], None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Faults:
    """Where a drill may strike: called inside the commit. A production store is given none."""

    before_insert: Callable[[Sequence[Arrival]], None] | None = None
    before_commit: Callable[[], None] | None = None
    after_commit: Callable[[], None] | None = None


@dataclass(slots=True)
class Known:
    """What the store remembers in memory; rebuilt from its tables at every opening."""

    marks: dict[tuple[str, int], int]
    allowed: dict[str, Flags]
    fingerprints: set[str]
    traces: Flags  # by check number: is it a trace?
    facts: Facts


def read_known(con: duckdb.DuckDBPyConnection, *, keep: Known | None = None) -> Known:
    """What the tables say of marks, plans and certificates; `keep` adds plans sent since."""
    con.execute(statement("current_checks")).fetchall()
    con.execute(statement("current_probes")).fetchall()
    marks = {(p, e): s for p, e, s in con.execute(statement("read_marks")).fetchall()}
    planned = con.execute(statement("read_planned")).fetchall()
    allowed = {probe_id: allowed_checks(numbers) for probe_id, numbers in planned}
    traces = allowed_checks([row[0] for row in con.execute(statement("read_traces")).fetchall()])
    if keep is not None:
        allowed.update(keep.allowed)
        traces = keep.traces
    fingerprints = {row[0] for row in con.execute(statement("read_fingerprints")).fetchall()}
    return Known(marks, allowed, fingerprints, traces, read_facts(con))


@dataclass(frozen=True, slots=True)
class Decided:
    """A report with its fate and, where it was rejected, the reason."""

    arrival: Arrival
    fate: Fate
    reason: str = ""


_NOTHING_ALLOWED = np.zeros(1, dtype=np.bool_)


def commit_group(
    con: duckdb.DuckDBPyConnection,
    arrivals: Sequence[Arrival],
    rows: Sequence[Row],
    *,
    known: Known,
    faults: Faults,
) -> list[Decided]:
    """Store what can be stored and say what became of each report.

    Raises one of TROUBLE when the store is in trouble: then nothing of the group is durable, unless
    it had been halved, and a report that is durable is a duplicate when it comes again. Any other
    exception, expected or not, is the fault of a report: it must not end the one writer there is.
    """
    try:
        return _commit(con, arrivals, rows, known=known, faults=faults)
    except BaseException as error:  # a parser's panic is not even an Exception
        roll_back(con)
        if isinstance(error, TROUBLE) and not isinstance(error, DATA_ERRORS):
            raise
        expected = isinstance(error, DATA_ERRORS)
        parts = _parts(arrivals, rows)
        if len(parts) > 1:
            halves = (commit_group(con, a, r, known=known, faults=faults) for a, r in parts)
            return [decided for half in halves for decided in half]
        text = _in_one_line(error) if expected else f"{type(error).__name__} {_in_one_line(error)}"
        if not expected:
            _LOG.error("report_failed_unforeseen", error=text, exc_info=error)
        if rows:
            _LOG.warning("row_dropped", row=repr(rows[0])[:300], error=text)
            return []
        reason = f"the store refused its rows: {text}"
        refusal = _refusal(arrivals[0], reason)
        commit_group(con, (), (refusal,), known=known, faults=faults)
        return [Decided(arrivals[0], Fate.REJECTED, reason)]


def _in_one_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")[:200]


def _parts(
    arrivals: Sequence[Arrival], rows: Sequence[Row]
) -> list[tuple[Sequence[Arrival], Sequence[Row]]]:
    """What to try apart: claims apart from reports, then halves; one part when it stands alone."""
    if arrivals and rows:
        return [((), rows), (arrivals, ())]
    half_arrivals, half_rows = len(arrivals) // 2, len(rows) // 2
    parts = [
        (arrivals[:half_arrivals], rows[:half_rows]),
        (arrivals[half_arrivals:], rows[half_rows:]),
    ]
    return [part for part in parts if part[0] or part[1]]


def roll_back(con: duckdb.DuckDBPyConnection) -> None:
    """Undo what is open. In this order: unregistering inside an aborted transaction raises too."""
    with suppress(duckdb.Error):
        con.execute("ROLLBACK")
    for name in REGISTERED:
        with suppress(duckdb.Error):
            con.unregister(name)


def _commit(
    con: duckdb.DuckDBPyConnection,
    arrivals: Sequence[Arrival],
    rows: Sequence[Row],
    *,
    known: Known,
    faults: Faults,
) -> list[Decided]:
    if faults.before_insert:
        faults.before_insert(arrivals)
    decided, fresh, merged, marks = _judge(arrivals, known)
    refused = [_refusal(one.arrival, one.reason) for one in decided if one.fate is Fate.REJECTED]
    certificates = [] if merged is None else _certificates(merged, fresh, known.fingerprints)
    con.execute("BEGIN TRANSACTION")
    facts: list[Values] = []
    if merged is not None:
        facts = insert_results(con, merged, _arriving(fresh), known.facts)
    insert_rows(con, (*rows, *refused, *certificates, *map(_batch_row, fresh)))
    if faults.before_commit:
        faults.before_commit()
    con.execute("COMMIT")
    if faults.after_commit:
        faults.after_commit()
    known.marks.update(marks)
    known.facts.learn(facts)
    known.fingerprints.update(row.cert_sha256 for row in certificates)
    return decided


def _judge(
    arrivals: Sequence[Arrival], known: Known
) -> tuple[list[Decided], list[Arrival], Merged | None, Mapping[tuple[str, int], int]]:
    """Duplicates by their marks, then the columns of all the rest at once."""
    fresh_flags, _ = name_fates([arrival.name for arrival in arrivals], known.marks)
    fresh = [arrival for arrival, is_fresh in zip(arrivals, fresh_flags, strict=True) if is_fresh]
    fates = {id(arrival): (Fate.COMMITTED, "") for arrival in fresh}
    merged = _merged(fresh, known)
    reasons = refuse_group(merged.group) if merged else ()
    if any(reasons):
        refused = {id(a): (Fate.REJECTED, r) for a, r in zip(fresh, reasons, strict=True) if r}
        fates.update(refused)
        fresh = [arrival for arrival in fresh if id(arrival) not in refused]
        merged = _merged(fresh, known)
    decided = [Decided(a, *fates.get(id(a), (Fate.DUPLICATE, ""))) for a in arrivals]
    _, marks = name_fates([arrival.name for arrival in fresh], known.marks)
    return decided, fresh, merged, marks


def _merged(arrivals: Sequence[Arrival], known: Known) -> Merged | None:
    if not arrivals:
        return None
    return merge(
        [arrival.body for arrival in arrivals],
        received_us=[arrival.received_at_us for arrival in arrivals],
        allowed=[known.allowed.get(a.name.probe_id, _NOTHING_ALLOWED) for a in arrivals],
        traces=known.traces,
    )


def _refusal(arrival: Arrival, reason: str) -> RejectRow:
    return RejectRow(
        received_at_us=arrival.received_at_us,
        probe_id=arrival.name.probe_id,
        epoch=arrival.name.epoch,
        seq=arrival.name.seq,
        row_count=arrival.rows,
        reason=reason,
    )


def _batch_row(arrival: Arrival) -> BatchRow:
    return BatchRow(
        probe_id=arrival.name.probe_id,
        epoch=arrival.name.epoch,
        seq=arrival.name.seq,
        row_count=arrival.rows,
        received_at_us=arrival.received_at_us,
    )


def _arriving(arrivals: Sequence[Arrival]) -> Columns:
    names = [arrival.name for arrival in arrivals]
    return arriving_reports(
        [name.probe_id for name in names],
        [name.epoch for name in names],
        [name.seq for name in names],
        [arrival.received_at_us for arrival in arrivals],
    )


def _certificates(
    merged: Merged, arrivals: Sequence[Arrival], seen: set[str]
) -> list[CertificateRow]:
    """Certificates not seen before, each once."""
    new: dict[str, CertificateRow] = {}
    for report, der in merged.certificates:
        sha256 = fingerprint(der)
        if sha256 not in seen and sha256 not in new:
            arrival = arrivals[report]
            new[sha256] = read_certificate(
                der,
                sha256=sha256,
                probe_id=arrival.name.probe_id,
                seen_at_us=arrival.received_at_us,
            )
    return list(new.values())
