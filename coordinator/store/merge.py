"""Merge decode: many reports become one set of columns with one parse.

Protobuf parses the concatenation of messages as one message whose repeated fields are
concatenated, so a commit group of hundreds of reports costs one parse and one `np.array` per
column instead of hundreds. The price is that one report with a column too short would shift the
rows of all that follow, so each is parsed alone first (`proto.codec.body_from_wire`) and refused
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from coordinator.core.intake import TEXT_MAX, Flags, Group, Hops, Integers
from proto.codec import body_from_wire
from proto.columns import COLUMNS, HOP_COLUMNS, Encoding
from proto.gen import report_pb2
from proto.model import State, Trigger, WireError

TEXTS_BYTES_MAX = 1 << 20
"""Bytes of one report's dictionary: more is not measuring but writing a book."""

_FAILURE = tuple(Trigger).index(Trigger.FAILURE)
_MEASURED = tuple(State).index(State.MEASURED)


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged reports: what is judged, and what only the insert needs."""

    group: Group
    texts: tuple[str, ...]
    text_columns: dict[str, Integers]  # 1-based positions in `texts`; 0 = not known
    hop_routers: Integers  # the same, one per hop
    certificates: tuple[tuple[int, bytes], ...]  # (report, DER)


def check_body(body: bytes, *, rows: int) -> tuple[tuple[int, int], ...]:
    """Parse one report alone and compare it with what its envelope says.

    Returns the number and slot of each check that ran because another one failed, and failed too.

    Raises WireError with the reason.
    """
    parsed = body_from_wire(body)
    if parsed.rows[0] != rows:
        raise WireError(f"the envelope says {rows} rows, the body {parsed.rows[0]}")
    if any(len(text) > TEXT_MAX for text in parsed.text):
        raise WireError(f"a text is longer than {TEXT_MAX} characters")
    return _failed_runs(parsed) if _FAILURE in parsed.trigger else ()


def _failed_runs(body: report_pb2.ReportBody) -> tuple[tuple[int, int], ...]:
    slots = accumulate(body.slot_delta_us, initial=body.base_at_us[0])
    next(slots)  # a body's first delta is 0
    told = zip(body.check_no, slots, body.trigger, body.state, body.failure, strict=True)
    return tuple(
        (check_no, slot_us)
        for check_no, slot_us, trigger, state, failure in told
        if trigger == _FAILURE and state == _MEASURED and failure
    )


def merge(
    bodies: Sequence[bytes],
    *,
    received_us: Sequence[int],
    allowed: Sequence[Flags],
    traces: Flags,
) -> Merged:
    """Parse checked bodies as one. `received_us` and `allowed` have one entry per body."""
    body = report_pb2.ReportBody.FromString(b"".join(bodies))
    rows = np.array(body.rows, dtype=np.int64)
    texts = np.array(body.texts, dtype=np.int64)
    slot_us = _slots(body, rows)
    started = np.array(body.started_us, dtype=np.uint64)
    columns: dict[str, Integers] = {
        column.name: np.array(
            getattr(body, column.name), dtype=np.uint64 if column.bits == 64 else np.uint32
        )
        for column in COLUMNS
    }
    group = Group(
        rows=rows,
        texts=texts,
        received_us=np.array(received_us, dtype=np.int64),
        columns=columns,
        check_no=np.array(body.check_no, dtype=np.int64),
        slot_us=slot_us,
        start_delta_us=unzigzag(started - (started > 0)),
        started=np.asarray(started > 0),
        allowed=allowed,
        hops=_hops(body, rows),
        traces=traces,
    )
    return Merged(
        group,
        tuple(body.text),
        _text_columns(columns, rows, texts),
        _shifted(group.hops.columns["router"], texts, group.hops.counts),
        _certificates(body),
    )


def _hops(body: report_pb2.ReportBody, rows: npt.NDArray[np.int64]) -> Hops:
    """The packets of all traces; a hop's row, counted within its report, becomes one of all rows."""
    counts = np.array(body.hops, dtype=np.int64)
    own = np.array(body.hop_row, dtype=np.int64)
    columns: dict[str, Integers] = {
        column.name: np.array(getattr(body, f"hop_{column.name}"), dtype=np.uint32)
        for column in HOP_COLUMNS
    }
    return Hops(counts, own + np.repeat(np.cumsum(rows) - rows, counts), columns)


def _slots(body: report_pb2.ReportBody, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Undo the deltas of each report on its own: its first delta is 0 by contract, ignored here."""
    deltas = np.array(body.slot_delta_us, dtype=np.int64)
    running = np.cumsum(deltas)
    firsts = np.cumsum(rows) - rows
    base = np.array(body.base_at_us, dtype=np.int64) - running[firsts]
    return np.asarray(running + np.repeat(base, rows))


def unzigzag(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Undo `proto.columns.zigzag` for a whole column."""
    return (value >> np.uint64(1)).astype(np.int64) ^ -(value & np.uint64(1)).astype(np.int64)


def _text_columns(
    columns: dict[str, Integers], rows: npt.NDArray[np.int64], texts: npt.NDArray[np.int64]
) -> dict[str, Integers]:
    return {
        column.name: _shifted(columns[column.name], texts, rows)
        for column in COLUMNS
        if column.encoding is Encoding.TEXT
    }


def _shifted(
    positions: Integers, texts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> Integers:
    """Positions in each report's dictionary as positions in all of them; `counts` per report."""
    shift = np.repeat(np.cumsum(texts) - texts, counts)
    return np.where(positions > 0, positions + shift, 0)


def _certificates(body: report_pb2.ReportBody) -> tuple[tuple[int, bytes], ...]:
    owners = np.repeat(
        np.arange(len(body.certificates)), np.array(body.certificates, dtype=np.int64)
    )
    return tuple(zip(owners.tolist(), body.certificate_der, strict=True))
