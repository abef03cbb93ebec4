"""Results into cells: the counts per bin that everything above the ledger reads.

Cells are added, never rewritten. A bin is counted first when its watermark has passed; rows that
come later are counted by themselves into further cell rows of the same bin, which carry their own
`received_at`. Rows of one cell add up, so the sum is exact, and `WHERE received_at <= as_of` over
the cells is just what was known then: a verdict can be computed again as of any past instant.

The one way in which this could go wrong is a row that was stamped as received before a count and
committed after it. Each count therefore records how many rows it rests on; when the rows received
up to then have become more, the bin is thrown away and counted anew in the same transaction, span
by span: one pass for the rows received up to each former count, and one for those since. So every
earlier `as_of` finds again what had been received by then, and nothing that came later.

A change of width is the same thing at a larger scale. The bins of the old width stay until one of
the new width is to be counted among them. Then all of them between two instants at which the grids
meet give way together, and the new ones are counted in the spans of their counts.

A slot that came in several reports counts once, by the row that was received first.

Everything here runs on the store's one writer connection, between two group commits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import duckdb

from coordinator.core.watermark import Arrival, span_start
from coordinator.store.statements import statement

# Bins per transaction: after a long outage a backlog is counted in slices, so that ingest waits
# for one slice at most (some 60 ms each at 70 000 rows per minute).
BINS_PER_COUNT = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """How large the pieces are in which a count is done, in result rows.

    Whole, the 4.8 million rows of a minute at 80,000/s took 0.95 GB; so 0.4 GB, and a tenth less processor.
    """

    slice_rows: int = 400_000  # in one look for repeated slots
    part_rows: int = 1_200_000  # in one round of counting


PIECES: Final = Pieces()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """What the store holds per bin start (microseconds since 1970 UTC), and what was counted."""

    arrived: dict[int, Arrival]
    counted: dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One bin after a count; `rebuilt` says that its earlier cells were thrown away."""

    bin_us: int
    result_rows: int
    rebuilt: bool


def utc(at_us: int) -> datetime:
    """A stamp as DuckDB's TIMESTAMP takes it: UTC without a zone."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).replace(tzinfo=None)


def micros(at_time: datetime) -> int:
    """The inverse of `utc`, exact."""
    delta = at_time.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Define the views that count what cells leave out. Harmless to repeat."""
    connection.execute(statement("coverage"))


def find_bins(connection: duckdb.DuckDBPyConnection, *, bin_us: int, since_us: int) -> Bins:
    """Bins that hold a row received at or after `since_us`."""
    found = connection.execute(
        statement("arrivals"), {"bin_us": bin_us, "since": utc(since_us)}
    ).fetchall()
    arrived = {
        start: Arrival(rows=rows, newest_us=newest, waiting_since_us=waiting)
        for start, rows, newest, waiting, _ in found
    }
    counted = {start: rows for start, _, _, _, rows in found if rows is not None}
    return Bins(arrived=arrived, counted=counted)


def count_bins(
    connection: duckdb.DuckDBPyConnection,
    starts: Sequence[int],
    *,
    bin_us: int,
    as_of_us: int,
    pieces: Pieces = PIECES,
) -> tuple[Counted, ...]:
    """Count what was received up to `as_of_us` into the cells of these bins.

    Belongs inside a transaction of the caller's, as the store's `run_in_store` makes one. A bin
    without rows is recorded as counted over 0 rows. At most `BINS_PER_COUNT` starts; more bins
    than asked for are counted, and returned, where they take the place of others of another width.
    """
    if len(starts) > BINS_PER_COUNT:
        raise ValueError(f"{len(starts)} bins in one count; at most {BINS_PER_COUNT} fit")
    as_of = utc(as_of_us)
    inherited = _replace_others(connection, starts, bin_us=bin_us)
    bins = sorted({utc(start) for start in starts} | set(inherited))
    known = connection.execute(
        statement("bin_counts"), {"bins": bins, "bin_us": bin_us, "as_of": as_of}
    ).fetchall()
    rebuilt = {bin_at for bin_at, _, then, counted, _ in known if counted not in {None, then}}
    _forget(connection, rebuilt | set(inherited), bin_us=bin_us)
    spans = [
        span
        for bin_at, _, _, _, steps in known
        for span in _spans(
            bin_at,
            former={*steps, *inherited.get(bin_at, ())},
            as_of=as_of,
            anew=bin_at in rebuilt or bin_at in inherited,
        )
    ]
    rows = {row[0]: row[1] for row in known}
    _roll(connection, spans, rows, bin_us=bin_us, pieces=pieces)
    _record(connection, spans, rows, bin_us=bin_us)
    return tuple(
        Counted(bin_us=micros(bin_at), result_rows=rows, rebuilt=bin_at in rebuilt)
        for bin_at, rows, _, _, _ in known
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The rows of one bin that were received after one instant (None = ever) up to another."""

    bin_at: datetime
    after_at: datetime | None
    until_at: datetime


def _spans(
    bin_at: datetime, *, former: Collection[datetime], as_of: datetime, anew: bool
) -> list[_Span]:
    """What is left to count of a bin after its former counts; all of it when it begins anew."""
    ends = sorted({*former, as_of}) if anew else [max([as_of, *former])]
    first = None if anew else max(former, default=None)
    return [
        _Span(bin_at=bin_at, after_at=after_at, until_at=until_at)
        for after_at, until_at in pairwise([first, *ends])
        if until_at is not None
    ]


def _roll(
    connection: duckdb.DuckDBPyConnection,
    spans: Sequence[_Span],
    rows: Mapping[datetime, int],
    *,
    bin_us: int,
    pieces: Pieces,
) -> None:
    """Count these spans; `rows` by bin decides into how many pieces the work is cut."""
    if not spans:
        return
    width = timedelta(microseconds=bin_us)
    bins = sorted({span.bin_at for span in spans})
    connection.execute(statement("no_repeats")).fetchall()
    for low, high in _slices(bins, rows, width, most=pieces.slice_rows):
        given = {"bins": bins, "low": low, "high": high, "bin_us": bin_us}
        connection.execute(statement("find_repeats"), given).fetchall()
    parts = -(-sum(rows[bin_at] for bin_at in bins) // pieces.part_rows) or 1
    for part in range(parts):
        given = {
            "bins": [span.bin_at for span in spans],
            "afters": [span.after_at for span in spans],
            "untils": [span.until_at for span in spans],
            "low": bins[0],
            "high": bins[-1] + width,
            "bin_us": bin_us,
            "parts": parts,
            "part": part,
        }
        connection.execute(statement("roll_bins"), given).fetchall()


def recount(
    connection: duckdb.DuckDBPyConnection,
    bins: Mapping[datetime, tuple[datetime, int]],
    *,
    bin_us: int,
) -> None:
    """Count bins as if they never were, each up to an instant and over so many rows; records nothing."""
    spans = [
        _Span(bin_at=bin_at, after_at=None, until_at=until) for bin_at, (until, _) in bins.items()
    ]
    rows = {bin_at: count for bin_at, (_, count) in bins.items()}
    _roll(connection, spans, rows, bin_us=bin_us, pieces=PIECES)


def _slices(
    bins: Sequence[datetime], rows: Mapping[datetime, int], width: timedelta, *, most: int
) -> Iterator[tuple[datetime, datetime]]:
    """Slices of time that hold `most` rows or some more each; all in one where that is all there is."""
    if sum(rows[bin_at] for bin_at in bins) <= most:
        yield bins[0], bins[-1] + width
        return
    for bin_at in bins:
        count = -(-rows[bin_at] // most) or 1
        edges = [bin_at + width * n / count for n in range(count)] + [bin_at + width]
        yield from pairwise(edges)


def _record(
    connection: duckdb.DuckDBPyConnection,
    spans: Sequence[_Span],
    rows: Mapping[datetime, int],
    *,
    bin_us: int,
) -> None:
    """Each span is a count on record, so that a later one can be made in the same steps."""
    if not spans:
        return
    given = {
        "bins": [span.bin_at for span in spans],
        "untils": [span.until_at for span in spans],
        "counts": [rows[span.bin_at] for span in spans],
        "bin_us": bin_us,
    }
    connection.execute(statement("record_counts"), given)


def _forget(
    connection: duckdb.DuckDBPyConnection, bins: Collection[datetime], *, bin_us: int
) -> None:
    if bins:
        given = {"bins": list(bins), "bin_us": bin_us}
        connection.execute(statement("forget_cells"), given)


def adopt_width(connection: duckdb.DuckDBPyConnection, *, bin_us: int, since_us: int) -> int:
    """From when on bins are to be looked at after a change of their width by configuration.

    That is the last instant before `since_us` at which the old and the new grid meet; `since_us`
    itself when all was counted at this width. Nothing is dropped before it is counted anew.
    """
    return span_start(since_us, _meeting(connection, bin_us=bin_us))


def _meeting(connection: duckdb.DuckDBPyConnection, *, bin_us: int) -> int:
    """How far apart the instants lie at which all grids in use meet; 1 when there is one grid."""
    widths = connection.execute(statement("other_widths"), {"bin_us": bin_us}).fetchall()
    return math.lcm(bin_us, *(1_000_000 * int(w) for (w,) in widths)) if widths else 1


def _replace_others(
    connection: duckdb.DuckDBPyConnection, starts: Sequence[int], *, bin_us: int
) -> dict[datetime, set[datetime]]:
    """Drop what was counted at other widths around these bins.

    Returns the bins of this width that take its place, each with the instants of the counts that
    were dropped.
    """
    span_us = _meeting(connection, bin_us=bin_us)
    if span_us == 1:
        return {}
    spans = sorted({utc(span_start(start, span_us)) for start in starts})
    given = {"spans": spans, "span_us": span_us, "bin_us": bin_us}
    found = connection.execute(statement("other_rollups"), given).fetchall()
    for name in ("drop_other_cells", "drop_other_rollups") if found else ():
        connection.execute(statement(name), given)
    inherited: dict[datetime, set[datetime]] = {}
    for other_us, width_us, rolled_at in found:
        for start in range(span_start(other_us, bin_us), other_us + width_us, bin_us):
            inherited.setdefault(utc(start), set()).add(rolled_at)
    return inherited
