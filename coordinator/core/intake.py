"""Accept, duplicate, or reject with a reason: every report is hostile input until it is stored.

A report is judged in three steps, each as late and as wide as it can be.

1. The envelope, before anything is unpacked: its sizes bound what unpacking may cost.
2. The name `(probe, epoch, seq)`, against the high-water mark of its epoch: a report that was
   committed before is acknowledged again and stored once. A probe sends an epoch's reports in
   order, so one number per epoch is enough, and it is written in the transaction that stores the
   rows: there is no instant at which one is durable and the other is not.
3. The columns of all reports of a commit group at once. Checking row by row in Python costs more
   than storing them; a numpy reduction per column costs a few microseconds for thousands of rows.
   Every finding is brought back to the report that it came in, so that one bad report costs its
   neighbours nothing.

A check has one result per slot. A report that says two things of one slot is no record of what was
run, and is refused whole. The same slot in two reports cannot be seen here, where only the group at
hand is known: both are stored, and whatever counts them takes the one that was received first.

Hops are judged with the row that they belong to: it must be a trace that was run.

The columns are those of the wire (proto/columns.py), still encoded: unsigned integers in which a
nullable column carries value + 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from proto.columns import (
    APART_US_MAX,
    COLUMNS,
    COUNT_MAX,
    HOP_COLUMNS,
    TIME_US_MAX,
    Column,
    Encoding,
)
from proto.model import State, Trigger

Integers = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]
Stamps = npt.NDArray[np.int64]

ROWS_MAX: Final = 20_000
"""Rows in one report, as proto/codec.py allows them."""

RAW_BYTES_MAX: Final = 2 << 20
"""Bytes of one unpacked report: 20,000 rows of 100 bytes; bounds what one batch may cost."""

FUTURE_MAX_US: Final = 24 * 3600 * 1_000_000
"""A slot further ahead of its arrival than this is impossible: certificates are back-dated two
days, so a clock that is off by more cannot even connect for long."""

AHEAD_US: Final = 300 * 1_000_000
"""A slot ahead of its arrival by more than this marks the row `clock_suspect`; method.md's bound."""

SUSPECT_US: Final = 100_000
"""Off by so much beyond its bound, a clock puts rows beside those of another instant."""

PAST_MAX_US: Final = 400 * 24 * 3600 * 1_000_000
"""A slot older than this is impossible: a full spool of the slowest probe is younger."""

_SMALL: Final = 65_535
_WIDE: Final = 4_294_967_294

_HIGHEST: Final[Mapping[str, int]] = {
    "port": _SMALL, "sent": COUNT_MAX, "lost": COUNT_MAX, "duplicates": COUNT_MAX,
    "late": COUNT_MAX, "retransmits": COUNT_MAX, "http_status": 999, "body_bytes": _WIDE, "cert_verify": _SMALL,
    "dns_rcode": 4095, "dns_ttl_s": _WIDE, "icmp_type": 255, "icmp_code": 255, "family": 6,
    "clock_error_us": _WIDE, "clock_synchronised": 1, "ttl": 64, "packet": 15,
}  # fmt: skip

TEXT_MAX: Final = 2048
"""Characters of one text: a redirect's Location is the longest that is worth keeping."""


@dataclass(frozen=True, slots=True)
class BatchName:
    """What names a report for ever. `epoch` is new at every start of the probe."""

    probe_id: str
    epoch: int
    seq: int


def refuse_envelope(*, rows: int, seq: int, raw_bytes: int, body_bytes: int) -> str | None:
    """Why a batch cannot be unpacked, from its envelope alone; None when it can."""
    if seq < 1:
        return "seq is 0; it counts from 1"
    if not 1 <= rows <= ROWS_MAX:
        return f"rows is {rows}; 1 to {ROWS_MAX} are allowed"
    if not 1 <= raw_bytes <= RAW_BYTES_MAX:
        return f"raw_bytes is {raw_bytes}; 1 to {RAW_BYTES_MAX} are allowed"
    if body_bytes < 1:
        return "body is empty"
    return None


def name_fates(
    names: Sequence[BatchName], marks: Mapping[tuple[str, int], int]
) -> tuple[tuple[bool, ...], dict[tuple[str, int], int]]:
    """Which of these reports are fresh, in order, and the marks after them.

    `marks` gives the highest committed seq of each (probe, epoch). A report at or below its mark is
    a duplicate, also of one that comes earlier in `names`.
    """
    after: dict[tuple[str, int], int] = {}
    fresh = []
    for name in names:
        key = (name.probe_id, name.epoch)
        mark = after.get(key, marks.get(key, 0))
        fresh.append(name.seq > mark)
        if name.seq > mark:
            after[key] = name.seq
    return tuple(fresh), after


@dataclass(frozen=True, slots=True)
class Hops:
    """The packets of a group's traces: `counts[i]` of report i, each of row `row` of the group."""

    counts: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    columns: Mapping[str, Integers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The merged columns of several reports. Report i owns `rows[i]` consecutive rows.

    `columns` are still encoded; `slot_us` and `start_delta_us` are decoded (0 where not started).
    `texts[i]` is the size of report i's dictionary, `received_us[i]` its arrival, and `allowed[i]`
    says for every check number whether that probe was ever asked to run it; `traces` says for every
    check number whether it is a trace.
    """

    rows: npt.NDArray[np.int64]
    texts: npt.NDArray[np.int64]
    received_us: Stamps
    columns: Mapping[str, Integers]
    check_no: npt.NDArray[np.int64]
    slot_us: Stamps
    start_delta_us: Stamps
    started: Flags
    allowed: Sequence[Flags]
    hops: Hops
    traces: Flags


def refuse_group(group: Group) -> tuple[str | None, ...]:
    """Why each report of the group cannot be stored; None where it can."""
    reasons: list[str | None] = [None] * len(group.rows)
    firsts = np.cumsum(group.rows) - group.rows
    for reason, bad in _findings(group):
        if bad.any():
            for i in np.flatnonzero(np.logical_or.reduceat(bad, firsts)).tolist():
                reasons[i] = reasons[i] or reason
    for i, first in enumerate(firsts.tolist()):
        if reasons[i] is None:
            mine = group.check_no[first : first + group.rows[i]]
            reasons[i] = _foreign(mine, group.allowed[i])
    for i, reason in (*_repeats(group), *_bad_hops(group)):
        reasons[i] = reasons[i] or reason
    return tuple(reasons)


def _bad_hops(group: Group) -> list[tuple[int, str]]:
    """The reports with a hop that cannot be, each with its reasons."""
    hops = group.hops
    if not len(hops.row):
        return []
    owner = np.repeat(np.arange(len(hops.counts)), hops.counts)
    ran = group.columns["state"][hops.row] == tuple(State).index(State.MEASURED)
    found = [
        (f"hop_{column.name} is out of range", _hop_out_of_range(column, group))
        for column in HOP_COLUMNS
    ]
    found += [
        ("hop_ttl is 0; it counts from 1", hops.columns["ttl"] == 0),
        ("a row that did not run has hops", ~ran),
        (
            "a row of a check that is no trace has hops",
            ~_are_known(group.check_no, group.traces)[hops.row],
        ),
        ("hops tell of one packet twice", _told_twice(hops)),
    ]
    return [(i, reason) for reason, bad in found for i in np.unique(owner[bad]).tolist()]


def _hop_out_of_range(column: Column, group: Group) -> Flags:
    values = group.hops.columns[column.name]
    if column.encoding is Encoding.TEXT:
        return np.asarray(values > np.repeat(group.texts, group.hops.counts))
    highest = _HIGHEST.get(column.name, TIME_US_MAX)
    return np.asarray(values > highest + (column.encoding is Encoding.PLUS_ONE))


def _told_twice(hops: Hops) -> Flags:
    """Hops whose row, ttl and packet were told by one before."""
    keys = (hops.columns["packet"], hops.columns["ttl"], hops.row)
    order = np.lexsort(keys)
    again = np.zeros(len(order), dtype=np.bool_)
    again[order[1:]] = np.logical_and.reduce([k[order[1:]] == k[order[:-1]] for k in keys])
    return again


def _repeats(group: Group) -> list[tuple[int, str]]:
    """The reports in which a scheduled (check, slot, family) stands twice, each with its first such check.

    One sort for the whole group, by whole numbers only: what is equal comes to lie side by side.
    """
    report = np.repeat(np.arange(len(group.rows)), group.rows)
    rows = np.flatnonzero(group.columns["trigger"] == tuple(Trigger).index(Trigger.SCHEDULE))
    columns = (group.slot_us, group.check_no, np.asarray(group.columns["family"]), report)
    keys = tuple(column[rows] for column in columns)
    order = np.lexsort(keys)
    same = np.ones(max(len(order) - 1, 0), dtype=np.bool_)
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    again = order[1:][same]
    owners, places = np.unique(report[rows[again]], return_index=True)
    return [
        (
            i,
            f"check {group.check_no[row]} has more than one row for one slot_at; send each slot once",
        )
        for i, row in zip(owners.tolist(), rows[again[places]].tolist(), strict=True)
    ]


def _findings(group: Group) -> list[tuple[str, Flags]]:
    texts = np.repeat(group.texts, group.rows)
    found = [(f"{c.name} is out of range", _out_of_range(c, group, texts)) for c in COLUMNS]
    found += _impossible_times(group)
    found += _contradictions(group)
    return found


def _out_of_range(column: Column, group: Group, texts: npt.NDArray[np.int64]) -> Flags:
    values = group.columns[column.name]
    if column.encoding is Encoding.TEXT:
        return np.asarray(values > texts)
    if column.encoding is Encoding.ZIGZAG:
        return np.asarray(values > np.uint64(1 << 53))
    highest = len(column.words) - 1 if column.words else _HIGHEST.get(column.name, TIME_US_MAX)
    return np.asarray(values > highest + (column.encoding is Encoding.PLUS_ONE))


def _impossible_times(group: Group) -> list[tuple[str, Flags]]:
    ahead = group.slot_us - np.repeat(group.received_us, group.rows)
    return [
        ("slot_at lies more than a day after its arrival", ahead > FUTURE_MAX_US),
        ("slot_at lies more than 400 days before its arrival", ahead < -PAST_MAX_US),
        (
            "started_at lies more than a day from its slot",
            np.abs(group.start_delta_us) > APART_US_MAX,
        ),
    ]


def _contradictions(group: Group) -> list[tuple[str, Flags]]:
    column = group.columns
    measured = column["state"] == tuple(State).index(State.MEASURED)
    low, middle, high = (column[f"rtt_us_{name}"] for name in ("min", "median", "max"))
    return [
        ("family is neither 4 nor 6", (column["family"] != 4) & (column["family"] != 6)),
        ("more attempts lost than sent", column["lost"] > column["sent"]),
        ("a measured row has no start", measured & ~group.started),
        ("a measured row has a reason not to run", measured & (column["reason"] != 0)),
        ("a row that did not run gives no reason", ~measured & (column["reason"] == 0)),
        ("a row that did not run has attempts", ~measured & (column["sent"] != 0)),
        (
            "operation and failure disagree",
            (column["operation"] == 0) != (column["failure"] == 0),
        ),
        ("rtt_us_min exceeds rtt_us_median", (low > middle) & (middle != 0)),
        ("rtt_us_median exceeds rtt_us_max", (middle > high) & (high != 0)),
    ]


def _foreign(check_no: npt.NDArray[np.int64], allowed: Flags) -> str | None:
    known = _are_known(check_no, allowed)
    if known.all():
        return None
    return f"check {check_no[np.argmin(known)]} was never in a plan of this probe"


def _are_known(check_no: npt.NDArray[np.int64], table: Flags) -> Flags:
    """What a table by check number says of each; of a number beyond it: no."""
    return np.asarray(table[np.minimum(check_no, len(table) - 1)] & (check_no < len(table)))


def ahead_of_arrival(group: Group) -> Flags:
    """Rows whose slot lies in the future of their arrival: their clock cannot be right."""
    return np.asarray(group.slot_us - np.repeat(group.received_us, group.rows) > AHEAD_US)


def clock_is_off(group: Group) -> Flags:
    """Rows whose own clock was off by more than its bound and SUSPECT_US, as they say themselves."""
    offset, error = (
        np.asarray(group.columns[f"clock_{name}_us"], dtype=np.int64)
        for name in ("offset", "error")
    )
    # Zigzag and the one that is added make of an offset twice its size, or twice and one.
    off = (offset >> 1) > error - 1 + SUSPECT_US
    return np.asarray(off & (offset > 0) & (error > 0))


def allowed_checks(check_nos: Sequence[int]) -> Flags:
    """A table indexed by check number; its last entry is never set, so that it is never empty."""
    allowed = np.zeros(max(check_nos, default=-1) + 2, dtype=np.bool_)
    allowed[list(check_nos)] = True
    return allowed
