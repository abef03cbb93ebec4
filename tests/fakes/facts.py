"""Rows of the ledger with defaults, written into a real store: what intake would have committed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import duckdb

from analysis.store import migrate
from coordinator.store.rollup import utc

T0_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One row of `results`; what is left out is what a good TCP check would have said."""

    slot_at_us: int = T0_US
    received_at_us: int = T0_US + SECOND_US
    probe_id: str = "p01"
    boot_id: str = "boot"
    seq: int = 1
    check_no: int = 1
    check_id: str = "c1"
    kind: str = "tcp"
    service: str = "x"
    component: str = "web"
    role: str = "subject"
    vantage: str = "v01"
    vantage_asn: int | None = 64512
    vantage_country: str | None = "DE"
    target_asn: int | None = 64500
    target_prefix: str | None = "198.18.0.0/24"
    state: str = "measured"
    reason: str | None = None
    address: str | None = "198.18.0.10"
    port: int | None = 443
    family: int = 4
    operation: str | None = None
    failure: str | None = None
    sent: int = 1
    lost: int = 0
    duplicates: int = 0
    late: int = 0
    rtt_ms_median: float | None = 20.0
    first_byte_ms: float | None = None
    total_ms: float | None = None
    tls_ms: float | None = None
    http_status: int | None = None
    validity: str = "ok"


_STAMPS = {"slot_at_us": "slot_at", "received_at_us": "received_at"}
_COLUMNS = tuple(_STAMPS.get(field.name, field.name) for field in fields(Fact))


def open_store(path: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """A store with the newest schema."""
    connection = duckdb.connect(path)
    connection.execute("SET enable_progress_bar = false; SET threads = 1; SET TimeZone = 'UTC'")
    migrate(connection)
    return connection


def write(connection: duckdb.DuckDBPyConnection, facts: Iterable[Fact]) -> None:
    """Append facts in one statement."""
    rows = [_row(fact) for fact in facts]
    if not rows:
        return
    marks = ", ".join("(" + ", ".join("?" * len(_COLUMNS)) + ")" for _ in rows)
    connection.execute(
        f"INSERT INTO results ({', '.join(_COLUMNS)}) VALUES {marks}",  # noqa: S608 own columns
        [value for row in rows for value in row],
    )


def _row(fact: Fact) -> list[object]:
    values = asdict(fact)
    return [utc(values[f.name]) if f.name in _STAMPS else values[f.name] for f in fields(Fact)]
