"""Reports of hostile probes: refused with a reason, or stored as they say; they shift no other."""

from __future__ import annotations

import random
import warnings

import numpy as np
from google.protobuf.message import DecodeError

from coordinator.core.intake import allowed_checks, refuse_group
from coordinator.store.merge import Merged, check_body, merge
from proto.codec import report_from_wire, report_to_wire
from proto.gen import report_pb2
from proto.model import (
    Certificate,
    Failure,
    Hop,
    Kind,
    Operation,
    Reason,
    Report,
    Result,
    State,
    WireError,
)
from tests.fuzz.messages import mutated

RECEIVED_US = 1_700_000_000_000_000
ALLOWED = allowed_checks(range(1, 16))
TRACES = allowed_checks([4])


def attempt(data: bytes) -> None:
    """Take a report as the coordinator does, before a good one that must stay as it is."""
    try:
        check_body(data, rows=_rows_in(data))
    except WireError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone, both = _merged(GOOD), _merged(data, GOOD)
        reason, good = refuse_group(both.group)
    assert good is None, good
    for name, values in alone.group.columns.items():
        assert np.array_equal(both.group.columns[name][-len(values) :], values), name
    for name, values in alone.group.hops.columns.items():
        assert np.array_equal(both.group.hops.columns[name][-len(values) :], values), name
    first = len(both.group.slot_us) - len(ROWS)
    assert (both.group.hops.row[-2:] == alone.group.hops.row + first).all()
    assert both.group.slot_us[-1] == alone.group.slot_us[-1]
    assert both.texts[-len(alone.texts) :] == alone.texts
    assert [der for owner, der in both.certificates if owner == 1] == [CERTIFICATE.der]
    if reason is None:
        _decodes(data, both.group.slot_us.tolist())


def _merged(*bodies: bytes) -> Merged:
    return merge(
        bodies,
        received_us=[RECEIVED_US] * len(bodies),
        allowed=[ALLOWED] * len(bodies),
        traces=TRACES,
    )


def _rows_in(data: bytes) -> int:
    """What an envelope that knows its body would say."""
    message = report_pb2.ReportBody()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise WireError("bytes do not parse") from error
    return message.rows[0] if message.rows else 0


def _decodes(data: bytes, slots_us: list[int]) -> None:
    """What may be stored is what a reader of single rows reads, but for sums beyond 64 bits."""
    for row, slot_us in zip(report_from_wire(data).results, slots_us, strict=False):
        assert (row.slot_at_us - slot_us) % 2**64 == 0


def mutate(data: bytes, seed: int) -> bytes | None:
    """One entry of a column changed; None where the bytes are no report."""
    message = report_pb2.ReportBody()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return mutated(message, random.Random(seed)).SerializeToString()


def _measured(number: int, **fields: object) -> Result:
    slot_at_us = RECEIVED_US - number * 1_000_000
    values: dict[str, object] = {"sent": 3, **fields}
    return Result(
        check_no=number,
        slot_at_us=slot_at_us,
        started_at_us=slot_at_us + 100,
        state=State.MEASURED,
        **values,  # type: ignore[arg-type]
    )


CERTIFICATE = Certificate(sha256="", der=b"der")
ROWS = (
    _measured(1, address="192.0.2.1", rtt_us_min=1, rtt_us_median=2, rtt_us_max=3),
    _measured(2, lost=3, operation=Operation.ECHO, failure=Failure.TIMEOUT, icmp_type=3),
    _measured(3, http_status=200, answers="192.0.2.1 192.0.2.2", edge="cloudflare:FRA"),
    _measured(4, hops=(Hop(ttl=1, packet=0, router="192.0.2.9", rtt_us=5), Hop(ttl=2, packet=0))),
    Result(
        check_no=5,
        slot_at_us=RECEIVED_US,
        started_at_us=None,
        state=State.NOT_RUN,
        reason=Reason.POLICY,
    ),
)
GOOD = report_to_wire(Report(ROWS, (CERTIFICATE,)))
assert len(Kind) < len(ALLOWED)


def seeds() -> list[bytes]:
    """All shapes of rows together, and each alone."""
    return [GOOD, *(report_to_wire(Report((row,))) for row in ROWS)]
