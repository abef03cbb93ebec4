"""Reports as a probe would send them, good ones by default, and ways to spoil them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

from coordinator.core.intake import BatchName
from coordinator.store.commit import Arrival, Fate
from proto.codec import report_to_wire
from proto.gen import fleet_pb2, report_pb2
from proto.model import Certificate, Failure, Operation, Reason, Report, Result, StampSource, State

NOW_US = 1_795_000_000_000_000
SECOND_US = 1_000_000


def row(check_no: int = 1, at_us: int = NOW_US - 10 * SECOND_US, **fields: Any) -> Result:
    """A good TCP row."""
    good: dict[str, Any] = {
        "started_at_us": at_us + 1500,
        "state": State.MEASURED,
        "address": "192.0.2.1",
        "port": 443,
        "sent": 1,
        "rtt_us_min": 12_000,
        "rtt_us_median": 12_500,
        "rtt_us_max": 13_000,
        "stamp_source": StampSource.TCP_INFO,
        "lateness_us": 1500,
        "clock_offset_us": -250,
        "clock_error_us": 900,
    }
    return Result(check_no=check_no, slot_at_us=at_us, **{**good, **fields})


def not_run(check_no: int = 1, at_us: int = NOW_US - 10 * SECOND_US) -> Result:
    """A slot that the probe had to let pass."""
    return Result(
        check_no=check_no,
        slot_at_us=at_us,
        started_at_us=None,
        state=State.NOT_RUN,
        reason=Reason.OVERLOADED,
    )


def failed(check_no: int = 1, at_us: int = NOW_US - 10 * SECOND_US) -> Result:
    """A connection that was refused."""
    return row(
        check_no,
        at_us,
        lost=1,
        operation=Operation.CONNECT,
        failure=Failure.REFUSED,
        rtt_us_min=None,
        rtt_us_median=None,
        rtt_us_max=None,
        router="198.51.100.1",
        icmp_type=3,
        icmp_code=3,
    )


def body_of(rows: Sequence[Result], certificates: Sequence[Certificate] = ()) -> bytes:
    """A report's body."""
    return report_to_wire(Report(tuple(rows), tuple(certificates)))


def spoiled(spoil: Callable[[report_pb2.ReportBody], object], rows: Sequence[Result] = ()) -> bytes:
    """A body that something was done to after it was made."""
    body = report_pb2.ReportBody.FromString(body_of(rows or [row(), row(2)]))
    spoil(body)
    return body.SerializeToString()


def batch_of(
    body: bytes, *, seq: int = 1, epoch: int = 7, rows: int = 1, pack: bool = True
) -> fleet_pb2.Batch:
    """A body in its envelope."""
    return fleet_pb2.Batch(
        epoch=epoch,
        seq=seq,
        rows=rows,
        codec=fleet_pb2.Batch.CODEC_ZLIB if pack else fleet_pb2.Batch.CODEC_PLAIN,
        raw_bytes=len(body),
        body=zlib.compress(body) if pack else body,
    )


def arrival_of(
    rows: Sequence[Result],
    reply: Callable[[Fate, str], None],
    name: BatchName,
    *,
    session: int = 1,
    certificates: Sequence[Certificate] = (),
) -> Arrival:
    """A report as a session hands it to the store."""
    return Arrival(
        name=name,
        session=session,
        rows=len(rows),
        body=body_of(rows, certificates),
        received_at_us=NOW_US,
        reply=reply,
    )
