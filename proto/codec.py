"""The only bridge between the plain values of `proto.model` and bytes on the wire.

Every `*_from_wire` raises WireError with a reason fit for a log and for the peer: bytes of another
program are never trusted to be what they claim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from proto.columns import COLUMNS, HOP_COLUMNS, Column, Encoding, unzigzag, zigzag
from proto.gen import plan_pb2, report_pb2
from proto.model import (
    Certificate,
    Check,
    Control,
    Hop,
    Kind,
    Plan,
    Report,
    Result,
    WireError,
)

ROWS_MAX: Final = 20_000
"""Rows in one report: a spool that lay for days still goes out in bounded pieces."""

HOPS_MAX: Final = 200_000
"""Hops in one report: 64 of three packets for a thousand traces."""

_KINDS: Final = tuple(Kind)
_CONTROLS: Final = tuple(Control)
_SAME_NAME: Final = (
    "check_no", "check_id", "host", "family", "packets", "use_tls", "path", "method",
    "expect_body", "body_cap_bytes", "qtype", "server", "pinned", "follow_redirects",
    "sni", "expect_sha256", "max_hops",
)  # fmt: skip


M = TypeVar("M", bound=Message)


def _parsed(message: M, data: bytes) -> M:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise WireError(f"{type(message).__name__}: bytes do not parse") from error
    return message


# --- plan ---------------------------------------------------------------------------------------


def plan_to_wire(plan: Plan) -> bytes:
    """Serialise a plan; equal plans give equal bytes, so that a signature can be compared."""
    message = plan_pb2.Plan(
        version=plan.version,
        checks=[_check_to_wire(check) for check in plan.checks],
        issued_at_us=plan.issued_at_us,
        heartbeat_ms=_ms(plan.heartbeat_s),
        flush_ms=_ms(plan.flush_s),
        flush_rows=plan.flush_rows,
        user_agent=plan.user_agent,
    )
    return message.SerializeToString(deterministic=True)


def plan_seal(plan: bytes, *, probe_id: str, once: bool = False) -> bytes:
    """What is signed of a serialised plan: these bytes (version and time of issue in them), for this probe.

    `once` is for checks that run once: what was signed as that is no plan to follow, nor the other way.

    The digest has a fixed length and comes last, so no two pairs give the same bytes; the beginning
    keeps the key's other signatures (certificates) from passing for a plan's.
    """
    purpose = b"soundings once\0" if once else b"soundings plan\0"
    return purpose + probe_id.encode() + b"\0" + hashlib.sha256(plan).digest()


def plan_from_wire(data: bytes) -> Plan:
    """Parse a plan. Raises WireError naming the check and the field at fault."""
    message = _parsed(plan_pb2.Plan(), data)
    return Plan(
        version=message.version,
        checks=tuple(_check_from_wire(check) for check in message.checks),
        issued_at_us=message.issued_at_us,
        heartbeat_s=message.heartbeat_ms / 1000,
        flush_s=message.flush_ms / 1000,
        flush_rows=message.flush_rows,
        user_agent=message.user_agent,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _check_to_wire(check: Check) -> plan_pb2.Check:
    return plan_pb2.Check(
        **{name: getattr(check, name) for name in _SAME_NAME},
        kind=plan_pb2.Kind.ValueType(_KINDS.index(check.kind) + 1),
        port=check.port or 0,
        interval_ms=_ms(check.interval_s),
        timeout_ms=_ms(check.timeout_s),
        expect_status=check.expect_status,
        expect_answers=check.expect_answers,
        control=plan_pb2.Control.ValueType(
            0 if check.control is None else _CONTROLS.index(check.control) + 1
        ),
        http_versions=check.http_versions,
        on_failure=check.on_failure,
        confirm_after_ms=map(_ms, check.confirm_after_s),
    )


def _check_from_wire(message: plan_pb2.Check) -> Check:
    _require(1 <= message.kind <= len(_KINDS), f"check {message.check_no}: unknown kind")
    _require(message.family in {4, 6}, f"check {message.check_no}: family is {message.family}")
    _require(0 <= message.control <= len(_CONTROLS), f"check {message.check_no}: unknown control")
    _require(message.timeout_ms > 0, f"check {message.check_no}: timeout is 0")
    plain: dict[str, Any] = {
        name: getattr(message, name) for name in _SAME_NAME if not _absent(message, name)
    }
    return Check(
        **plain,
        kind=_KINDS[message.kind - 1],
        port=message.port or None,
        interval_s=message.interval_ms / 1000,
        timeout_s=message.timeout_ms / 1000,
        expect_status=tuple(message.expect_status),
        expect_answers=tuple(message.expect_answers),
        control=_CONTROLS[message.control - 1] if message.control else None,
        http_versions=tuple(message.http_versions),
        on_failure=tuple(message.on_failure),
        confirm_after_s=tuple(ms / 1000 for ms in message.confirm_after_ms),
    )


def _absent(message: plan_pb2.Check, name: str) -> bool:
    field = message.DESCRIPTOR.fields_by_name[name]
    return field.has_presence and not message.HasField(name)  # type: ignore[arg-type]  # a name of the descriptor


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise WireError(reason)


# --- report -------------------------------------------------------------------------------------


def report_to_wire(report: Report) -> bytes:
    """Serialise a report as one columnar body, uncompressed.

    Raises WireError when it has no row or more than ROWS_MAX.
    """
    rows = report.results
    _require(
        0 < len(rows) <= ROWS_MAX, f"a report has {len(rows)} rows; 1 to {ROWS_MAX} are allowed"
    )
    body = report_pb2.ReportBody()
    texts: dict[str, int] = {}
    slots = [row.slot_at_us for row in rows]
    body.base_at_us.append(slots[0])
    body.slot_delta_us.extend(b - a for a, b in zip(slots[:1] + slots, slots, strict=False))
    body.check_no.extend(row.check_no for row in rows)
    body.started_us.extend(_started(row) for row in rows)
    for column in COLUMNS:
        values = map(attrgetter(column.name), rows)
        getattr(body, column.name).extend(_encoded(column, values, texts))
    _hops_to_wire(body, rows, texts)
    body.text.extend(texts)
    body.certificate_der.extend(certificate.der for certificate in report.certificates)
    body.rows.append(len(rows))
    body.texts.append(len(texts))
    body.certificates.append(len(report.certificates))
    return body.SerializeToString()


def _hops_to_wire(
    body: report_pb2.ReportBody, rows: tuple[Result, ...], texts: dict[str, int]
) -> None:
    hops = [hop for row in rows for hop in row.hops]
    _require(len(hops) <= HOPS_MAX, f"a report has {len(hops)} hops; {HOPS_MAX} are allowed")
    body.hop_row.extend(i for i, row in enumerate(rows) for _ in row.hops)
    for column in HOP_COLUMNS:
        values = map(attrgetter(column.name), hops)
        getattr(body, f"hop_{column.name}").extend(_encoded(column, values, texts))
    body.hops.append(len(hops))


def _started(row: Result) -> int:
    return 0 if row.started_at_us is None else zigzag(row.started_at_us - row.slot_at_us) + 1


def _encoded(column: Column, values: Iterable[Any], texts: dict[str, int]) -> list[int]:
    """The numbers of a column, of which each report has some forty: asked once what it holds."""
    if column.encoding is Encoding.TEXT:
        return [0 if v is None else texts.setdefault(v, len(texts)) + 1 for v in values]
    if column.encoding is Encoding.ZIGZAG:
        return [0 if v is None else zigzag(v) + 1 for v in values]
    first = int(column.encoding is Encoding.PLUS_ONE)
    if column.words:
        number_of = column.words.index
        return [0 if v is None else number_of(v) + first for v in values]
    return [0 if v is None else v + first for v in values]


def body_from_wire(data: bytes) -> report_pb2.ReportBody:
    """Parse one body and check that its columns agree with its row count.

    Raises WireError with the column at fault. Values are checked by who reads them.
    """
    body = _parsed(report_pb2.ReportBody(), data)
    heads = (body.rows, body.texts, body.base_at_us, body.certificates, body.hops)
    _require(all(len(head) == 1 for head in heads), "a report is one body, with one head")
    rows = body.rows[0]
    _require(0 < rows <= ROWS_MAX, f"rows is {rows}; 1 to {ROWS_MAX} are allowed")
    _require(body.texts[0] == len(body.text), "texts disagrees with the dictionary")
    _require(
        body.certificates[0] == len(body.certificate_der), "certificates disagrees with the list"
    )
    for name in ("slot_delta_us", "check_no", "started_us", *(column.name for column in COLUMNS)):
        _require(len(getattr(body, name)) == rows, f"column {name} has another length than rows")
    _require(
        body.slot_delta_us[0] == 0, f"slot_delta_us begins with {body.slot_delta_us[0]}, not 0"
    )
    _check_hops(body, rows)
    return body


def _check_hops(body: report_pb2.ReportBody, rows: int) -> None:
    count = body.hops[0]
    _require(count <= HOPS_MAX, f"hops is {count}; {HOPS_MAX} are allowed")
    for name in ("row", *(column.name for column in HOP_COLUMNS)):
        has = len(getattr(body, f"hop_{name}"))
        _require(has == count, f"column hop_{name} has another length than hops")
    _require(all(row < rows for row in body.hop_row), "hop_row points past the rows")


def report_from_wire(data: bytes) -> Report:
    """Parse a report row by row: for tests, tools and explanation, not for the hot path."""
    body = body_from_wire(data)
    decoded = {
        column.name: [_value(column, number, body) for number in getattr(body, column.name)]
        for column in COLUMNS
    }
    hops = _hops_from_wire(body)
    results = []
    slot = body.base_at_us[0]
    for i in range(body.rows[0]):
        slot += body.slot_delta_us[i]
        started = body.started_us[i]
        results.append(
            Result(
                check_no=body.check_no[i],
                slot_at_us=slot,
                started_at_us=None if started == 0 else slot + unzigzag(started - 1),
                hops=tuple(hops.get(i, ())),
                **{name: values[i] for name, values in decoded.items()},
            )
        )
    return Report(tuple(results), tuple(_certificate(der) for der in body.certificate_der))


def _hops_from_wire(body: report_pb2.ReportBody) -> dict[int, list[Hop]]:
    decoded = {
        column.name: [
            _value(column, number, body) for number in getattr(body, f"hop_{column.name}")
        ]
        for column in HOP_COLUMNS
    }
    hops: dict[int, list[Hop]] = {}
    for i, row in enumerate(body.hop_row):
        hop = Hop(**{name: values[i] for name, values in decoded.items()})
        hops.setdefault(row, []).append(hop)
    return hops


def _value(column: Column, number: int, body: report_pb2.ReportBody) -> Any:
    if column.encoding is not Encoding.PLAIN:
        if number == 0:
            return None
        number -= 1
    if column.encoding is Encoding.ZIGZAG:
        return unzigzag(number)
    if column.encoding is Encoding.TEXT:
        _require(number < len(body.text), f"column {column.name} points past the dictionary")
        return body.text[number]
    if column.words:
        _require(number < len(column.words), f"column {column.name} has no word {number}")
        return column.words[number]
    return bool(number) if column.boolean else number


def _certificate(der: bytes) -> Certificate:
    return Certificate(sha256=fingerprint(der), der=der)


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, in hex."""
    return hashlib.sha256(der).hexdigest()
