"""Results into cells: the counts per bin that everything above the ledger reads.

Cells are added, never rewritten. A bin is counted first when its watermark has passed; rows that
come later are counted by themselves into further cell rows of the same bin, which carry their own
`received_at`. Rows of one cell add up, so the sum is exact, and `WHERE received_at <= as_of` over
the cells is just what was known then: a verdict can be computed again as of any past instant.

The one way in which this could go wrong is a row that was stamped as received before a count and
committed after it. Each count therefore records how many rows it rests on; when the rows received
up to then have become more, the bin is thrown away and counted anew in the same transaction.

Everything here runs on the store's one writer connection, between two group commits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from coordinator.core.watermark import Arrival, span_start
from coordinator.store.statements import statement

# Bins per transaction: after a long outage a backlog is counted in slices, so that ingest waits
# for one slice at most (some 30 ms each at 70 000 rows per minute).
BINS_PER_COUNT = 30


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
    connection: duckdb.DuckDBPyConnection, starts: Sequence[int], *, bin_us: int, as_of_us: int
) -> tuple[Counted, ...]:
    """Count what was received up to `as_of_us` into the cells of these bins.

    Belongs inside a transaction of the caller's, as the store's `run_in_store` makes one. A bin
    without rows is recorded as counted over 0 rows. At most `BINS_PER_COUNT` starts.
    """
    if len(starts) > BINS_PER_COUNT:
        raise ValueError(f"{len(starts)} bins in one count; at most {BINS_PER_COUNT} fit")
    as_of = utc(as_of_us)
    known = connection.execute(
        statement("bin_counts"),
        {"bins": [utc(start) for start in starts], "bin_us": bin_us, "as_of": as_of},
    ).fetchall()
    rebuilt = [bin_at for bin_at, _, then, counted, _ in known if counted not in {None, then}]
    _forget(connection, rebuilt, bin_us=bin_us)
    afters = [None if bin_at in rebuilt else rolled_at for bin_at, _, _, _, rolled_at in known]
    bins = [row[0] for row in known]
    connection.execute(
        statement("roll_bins"), {"bins": bins, "afters": afters, "bin_us": bin_us, "as_of": as_of}
    )
    connection.execute(
        statement("record_counts"),
        {"bins": bins, "counts": [row[1] for row in known], "bin_us": bin_us, "as_of": as_of},
    )
    return tuple(
        Counted(bin_us=micros(bin_at), result_rows=rows, rebuilt=bin_at in rebuilt)
        for bin_at, rows, _, _, _ in known
    )


def _forget(
    connection: duckdb.DuckDBPyConnection, bins: Sequence[datetime], *, bin_us: int
) -> None:
    if bins:
        given = {"bins": list(bins), "bin_us": bin_us}
        connection.execute(statement("forget_cells"), given)


def adopt_width(connection: duckdb.DuckDBPyConnection, *, bin_us: int, since_us: int) -> int:
    """Make room for bins of another width after a change of configuration.

    Live cells of other widths are dropped from the last instant before `since_us` at which the
    old and the new grid meet, so that the bins there are counted anew and nothing counts twice.
    Returns that instant; it is `since_us` when there was nothing to drop.
    """
    widths = connection.execute(statement("other_widths"), {"bin_us": bin_us}).fetchall()
    if not widths:
        return since_us
    meeting_us = span_start(since_us, math.lcm(bin_us, *(1_000_000 * int(w) for (w,) in widths)))
    for name in ("drop_other_cells", "drop_other_rollups"):
        connection.execute(statement(name), {"bin_us": bin_us, "since": utc(meeting_us)})
    return meeting_us
