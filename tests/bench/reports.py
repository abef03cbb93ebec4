"""Reports as a fleet would send them, made once and stamped anew for every batch.

The mix is 70 % ICMP, 20 % TCP and 10 % HTTP with one failure in a hundred. A report's first slot is
a field of its own, and protobuf reads the concatenation of two messages as one, so a fresh report
is a template followed by that field.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proto.codec import report_to_wire
from proto.gen import fleet_pb2, report_pb2
from proto.model import Check, Failure, Kind, Operation, Report, Result, StampSource, State

SPAN_US: Final = 5_000_000
"""A report covers the last five seconds of its probe."""

_SHARES: Final = {Kind.ICMP: 0.7, Kind.TCP: 0.2, Kind.HTTP: 0.1}


@dataclass(frozen=True, slots=True)
class Template:
    """A report without the time of its first slot."""

    rows: int
    body: bytes

    def at(self, first_slot_us: int) -> bytes:
        """The report's body, its first slot at this stamp."""
        stamp = report_pb2.ReportBody(base_at_us=[first_slot_us])
        return self.body + stamp.SerializeToString()

    def batch(self, first_slot_us: int, *, epoch: int, seq: int) -> fleet_pb2.Batch:
        """The same in its envelope, compressed as a probe does."""
        raw = self.at(first_slot_us)
        return fleet_pb2.Batch(
            epoch=epoch,
            seq=seq,
            rows=self.rows,
            codec=fleet_pb2.Batch.CODEC_ZLIB,
            raw_bytes=len(raw),
            body=zlib.compress(raw),
        )


def templates(checks: Sequence[Check], *, rows: int, count: int, seed: int) -> list[Template]:
    """`count` different reports of `rows` rows over these checks."""
    chance = random.Random(seed)
    return [_template(checks, rows, chance) for _ in range(count)]


def rows_of(checks: Sequence[Check], rows: int, chance: random.Random) -> list[Result]:
    """Rows of one report, by slot."""
    by_kind = {kind: [check for check in checks if check.kind is kind] for kind in _SHARES}
    kinds = chance.choices(list(_SHARES), weights=list(_SHARES.values()), k=rows)
    step_us = SPAN_US // rows
    return [_row(chance.choice(by_kind[kind]), n * step_us, chance) for n, kind in enumerate(kinds)]


def _template(checks: Sequence[Check], rows: int, chance: random.Random) -> Template:
    body = report_pb2.ReportBody.FromString(
        report_to_wire(Report(tuple(rows_of(checks, rows, chance))))
    )
    del body.base_at_us[:]
    return Template(rows, body.SerializeToString())


def _row(check: Check, slot_us: int, chance: random.Random) -> Result:
    rtt_us = round(chance.lognormvariate(10.3, 0.6))
    good = chance.random() > 0.01
    http = check.kind is Kind.HTTP
    sent = 3 if check.kind is Kind.ICMP else 1
    return Result(
        check_no=check.check_no,
        slot_at_us=slot_us,
        started_at_us=slot_us + chance.randrange(3000),
        state=State.MEASURED,
        address=f"192.0.2.{check.check_no % 250}",
        port=check.port,
        family=check.family,
        operation=None if good else Operation.CONNECT,
        failure=None if good else Failure.TIMEOUT,
        sent=sent,
        lost=0 if good else sent,
        rtt_us_min=rtt_us if good else None,
        rtt_us_median=rtt_us + 90 if good else None,
        rtt_us_max=rtt_us + 400 if good else None,
        connect_us=rtt_us if good and check.kind is not Kind.ICMP else None,
        tls_us=rtt_us * 2 if good and http else None,
        first_byte_us=rtt_us + 4000 if good and http else None,
        total_us=rtt_us * 4 if good and http else None,
        stamp_source=StampSource.KERNEL,
        http_status=200 if good and http else None,
        http_version="1.1" if good and http else None,
        body_bytes=chance.randrange(60_000) if good and http else None,
        lateness_us=chance.randrange(3000),
        clock_offset_us=chance.randrange(-4000, 4000),
        clock_error_us=900,
        clock_synchronised=True,
    )
