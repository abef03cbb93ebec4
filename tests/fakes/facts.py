"""Rows of the ledger with defaults, written into a real store: what intake would have committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product

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
    epoch: int = 1
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
    trigger: str = "schedule"
    control: str | None = None


_CHECK = (
    "check_no", "check_id", "kind", "control", "service", "component", "role", "target_asn",
    "target_prefix",
)  # fmt: skip
_PROBE = ("probe_id", "vantage", "vantage_asn", "vantage_country")
_SHARED = (
    "state", "reason", "address", "port", "family", "operation", "failure", "sent", "lost",
    "duplicates", "late", "http_status", "validity", "trigger",
)  # fmt: skip
_OWN = (
    "slot_at_us", "received_at_us", "epoch", "seq", "rtt_ms_median", "first_byte_ms", "total_ms", "tls_ms",
)  # fmt: skip


def open_store(path: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """A store with the newest schema."""
    connection = duckdb.connect(path)
    connection.execute("SET enable_progress_bar = false; SET threads = 1; SET TimeZone = 'UTC'")
    migrate(connection)
    return connection


def write(connection: duckdb.DuckDBPyConnection, facts: Iterable[Fact]) -> None:
    """Append facts as the writer does: the rows, and once each what they share."""
    values = [asdict(fact) for fact in facts]
    if not values:
        return
    numbers = {
        "definition_no": _share(connection, "checks", "definition_no", _CHECK, values, _DEFINED),
        "declaration_no": _share(connection, "probes", "declaration_no", _PROBE, values, _DECLARED),
        "fact_no": _share(connection, "result_facts", "fact_no", _SHARED, values, {}),
    }
    own: dict[str, list[object]] = {name: [row[name] for row in values] for name in _OWN}
    for stamp in ("slot_at", "received_at"):
        own[stamp] = [utc(row[f"{stamp}_us"]) for row in values]
        del own[f"{stamp}_us"]
    _append(connection, "result_rows", {**own, **numbers})


_DEFINED: dict[str, object] = {
    "host": "x.test", "family": 4, "interval_s": 60.0, "timeout_s": 5.0, "config_version": 0,
}  # fmt: skip
_DECLARED: dict[str, object] = {"state": "enrolled", "recorded_at": utc(0)}


def _share(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    number: str,
    names: tuple[str, ...],
    values: list[dict[str, object]],
    rest: dict[str, object],
) -> list[object]:
    """The number of each row's part in a table that others share, which is written with it."""
    highest = f"SELECT coalesce(max({number}), 0) FROM {table}"  # noqa: S608  # our own names
    [(last,)] = connection.execute(highest).fetchall()
    keys = [tuple(row[name] for name in names) for row in values]
    known = {key: last + n for n, key in enumerate(dict.fromkeys(keys), start=1)}
    columns: dict[str, list[object]] = {
        {"vantage": "name"}.get(name, name): [key[n] for key in known]
        for n, name in enumerate(names)
    }
    columns.update({name: [value] * len(known) for name, value in rest.items()})
    _append(connection, table, {number: list(known.values()), **columns})
    return [known[key] for key in keys]


def _append(
    connection: duckdb.DuckDBPyConnection, table: str, columns: dict[str, list[object]]
) -> None:
    told = ", ".join(f"unnest(${name})" for name in columns)
    connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {told}", columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A vantage point of a small world."""

    name: str
    asn: int
    country: str


PLACES = tuple(
    Place(name=f"v{n:02}", asn=64512 + n // 2, country=("DE", "FR", "JP", "US", "BR", "ZA")[n // 2])
    for n in range(12)
)
PARTS = (
    *(("x", name, "subject", "198.18.0.0/24", 64500) for name in ("web", "api", "spaces")),
    *(("x", f"near-{n}", "neighbour", "198.18.0.0/24", 64500) for n in range(2)),
    *(("anchor", f"anchor-{n}", "anchor", f"198.18.{n + 1}.0/24", 64600 + n) for n in range(8)),
)


def world_rows(
    bins: range, *, width_us: int, broken: Callable[[Fact], bool] = lambda _: False
) -> Iterator[Fact]:
    """One good row per bin, place, part and kind, received a second later; `broken` ones fail.

    `bins` are bin numbers counted from T0. A broken row answers 503 over http, nothing else fails.
    """
    checks = list(enumerate(product(PARTS, ("icmp", "tcp", "http")), start=1))
    for number, place, (check_no, (part, kind)) in product(bins, PLACES, checks):
        service, component, role, prefix, asn = part
        at_us = T0_US + number * width_us + width_us // 2
        fact = Fact(
            slot_at_us=at_us,
            received_at_us=at_us + SECOND_US,
            probe_id=place.name,
            check_no=check_no,
            vantage=place.name,
            vantage_asn=place.asn,
            vantage_country=place.country,
            service=service,
            component=component,
            role=role,
            kind=kind,
            address=prefix.replace("0/24", "10"),
            target_prefix=prefix,
            target_asn=asn,
            rtt_ms_median=20.0 + (number % 5),
            first_byte_ms=30.0 + (number % 5) if kind == "http" else None,
            http_status=200 if kind == "http" else None,
        )
        yield _failed(fact) if kind == "http" and broken(fact) else fact


def _failed(fact: Fact) -> Fact:
    return replace(
        fact,
        operation="reply",
        failure="http_status",
        http_status=503,
        lost=1,
        rtt_ms_median=None,
        first_byte_ms=None,
    )
