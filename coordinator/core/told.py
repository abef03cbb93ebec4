"""The rows of one measurement on request as lines for people: a line each, then a count per kind."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

Row = Mapping[str, Any]
"""A row of `results` by column."""

HEAD: Final = (
    f"{'VANTAGE':<16} {'IN':<3} {'AS':>10}  {'KIND':<7} {'OUTCOME':<26} {'TIME':>10}  DETAIL"
)

_TIMES: Final = {
    "icmp": "rtt_ms_median",
    "tcp": "connect_ms",
    "tls": "tls_ms",
    "http": "first_byte_ms",
    "dns": "total_ms",
}
"""The time that each kind is asked for: a round trip, a connection, a handshake, a first byte, an answer."""


def line(row: Row) -> str:
    """One row in 80 characters, then what it was about."""
    return (
        f"{row['vantage']:<16} {row['vantage_country'] or '-':<3} {row['vantage_asn'] or '-':>10}  "
        f"{_kind(row):<7} {outcome(row):<26} {_shown(_time(row)):>10}  {_detail(row)}"
    ).rstrip()


def outcome(row: Row) -> str:
    """`good`, the failed operation with its word, or why it was not run."""
    if row["state"] != "measured":
        return f"not run: {row['reason']}"
    if row["failure"] is not None:
        return f"{row['operation']} {row['failure']}"
    return f"{row['lost']} of {row['sent']} lost" if row["lost"] else "good"


def summary(rows: Iterable[Row]) -> list[str]:
    """Per kind and family: how many were good and how fast, and each other outcome with its count."""
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        by_kind.setdefault(_kind(row), []).append(row)
    return [_counted(kind, of_kind) for kind, of_kind in sorted(by_kind.items())]


def _counted(kind: str, rows: list[Row]) -> str:
    outcomes = Counter(outcome(row) for row in rows)
    good = outcomes.pop("good", 0)
    times = [time for row in rows if outcome(row) == "good" and (time := _time(row)) is not None]
    pace = (
        f", {_shown(min(times))} to {_shown(max(times))}, median {_shown(statistics.median(times))}"
        if times
        else ""
    )
    others = "".join(f"; {count} {what}" for what, count in outcomes.most_common())
    return f"{kind:<7} {good} of {len(rows)} good{pace}{others}"


def _kind(row: Row) -> str:
    return f"{row['kind']}{'/6' if row['family'] == 6 else ''}"


def _time(row: Row) -> float | None:
    """Milliseconds; None where it was not reached."""
    value = row[_TIMES[row["kind"]]]
    return None if value is None else float(value)


def _shown(value_ms: float | None) -> str:
    return "-" if value_ms is None else f"{value_ms:.1f} ms"


def _detail(row: Row) -> str:
    parts = [row["answers"] if row["kind"] == "dns" else row["address"]]
    if row["http_status"] is not None:
        parts.append(f"HTTP {row['http_status']}")
    parts.append(row["tls_version"])
    return " ".join(part for part in parts if part)
