"""Rows that are written beside results: one frozen value per table, inserted a column at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

import duckdb

from coordinator.store.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A report that is committed with this row."""

    probe_id: str
    epoch: int
    seq: int
    row_count: int
    received_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectRow:
    """A report that was refused for good."""

    received_at_us: int
    probe_id: str
    epoch: int | None
    seq: int | None
    row_count: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatRow:
    """What a probe said of itself; None = it did not say."""

    received_at_us: int
    sent_at_us: int
    probe_id: str
    plan_version: int | None
    uptime_s: float | None
    rss_bytes: int | None
    cpu_s: float | None
    spool_bytes: int | None
    spool_rows: int | None
    evicted_rows: int | None
    queue_depth: int | None
    lateness_ms_p99: float | None
    receive_drops: int | None
    clock_synchronised: bool | None
    overloaded_slots: int | None
    clock_drift_ppm: float | None
    translated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A connect, a disconnect, a refusal or a silence."""

    at_us: int
    probe_id: str
    what: str
    boot_id: str | None = None
    version: str | None = None
    detail: str | None = None
    backlog_rows: int | None = None
    evicted_rows: int | None = None
    families: str | None = None  # comma-separated
    capabilities: str | None = None
    address: str | None = None
    limits: dict[str, float] | None = None  # of HostLimits, by name


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRow:
    """Coordinator minus probe as the probe estimated it, with its bound."""

    at_us: int
    probe_id: str
    offset_ms: float
    error_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRow:
    """A leaf certificate as received and, where it parsed, as read."""

    cert_sha256: str
    seen_at_us: int
    probe_id: str
    subject: str | None
    issuer: str | None
    names: str | None
    not_before_us: int | None
    not_after_us: int | None
    der: bytes


OPERATOR: Final = "operator"
COMPARISON: Final = "comparison"
"""Why something was asked for beside the schedule; else a word of coordinator.core.doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """One check that one probe was asked to run once, and why."""

    asked_at_us: int
    probe_id: str
    check_no: int
    why: str
    service: str
    component: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRow:
    """An answer of the coordinator's own answerer."""

    answered_at_us: int
    address: str
    body_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRow:
    """What was counted of a probe that speaks for or against believing it."""

    counted_at_us: int
    probe_id: str
    since_us: int
    canary_rows: int
    canary_unknown: int
    canary_copied: int
    anchor_cells: int
    anchor_alone: int
    anchors_alone: int
    timed_rows: int
    impossible_rows: int
    repeated_rows: int
    copied_rows: int
    reasons: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRow:
    """A vantage point as it was known from a stamp on."""

    probe_id: str
    name: str
    vantage_asn: int | None
    vantage_country: str | None
    provider: str | None
    labels: str
    state: str
    recorded_at_us: int
    declared_asn: int | None = None
    declared_country: str | None = None
    seen_asn: int | None = None
    seen_country: str | None = None
    asn_source: str | None = None
    country_source: str | None = None
    state_reason: str | None = None
    state_by: str | None = None
    state_at_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """A check as one configuration version defines it."""

    check_no: int
    check_id: str
    kind: str
    control: str | None
    service: str
    component: str
    role: str
    host: str
    port: int | None
    family: int
    interval_s: float
    timeout_s: float
    target_asn: int | None
    target_prefix: str | None
    config_version: int


Row = (
    BatchRow
    | RejectRow
    | HeartbeatRow
    | SessionRow
    | ClockRow
    | CertificateRow
    | RequestRow
    | CanaryRow
    | TrustRow
    | ProbeRow
    | CheckRow
)

_INSERTS: Final[dict[type[Any], str]] = {
    BatchRow: "insert_batches",
    RejectRow: "insert_rejects",
    HeartbeatRow: "insert_heartbeats",
    SessionRow: "insert_sessions",
    ClockRow: "insert_clock_offsets",
    CertificateRow: "insert_certificates",
    RequestRow: "insert_requests",
    CanaryRow: "insert_canary_answers",
    TrustRow: "insert_trust_facts",
    ProbeRow: "insert_probes",
    CheckRow: "insert_checks",
}


def insert_rows(con: duckdb.DuckDBPyConnection, rows: Iterable[Row]) -> None:
    """Insert rows of any of these tables, one statement per table, in the caller's transaction."""
    by_table: dict[type[Any], list[Row]] = {}
    for row in rows:
        by_table.setdefault(type(row), []).append(row)
    for table, members in by_table.items():
        names = [field.name for field in fields(table)]
        columns = {name: [getattr(row, name) for row in members] for name in names}
        con.execute(statement(_INSERTS[table]), columns).fetchall()
