"""The answers to a request as people read them."""

from __future__ import annotations

from typing import Any

from coordinator.core.told import HEAD, line, summary


def row(**changes: Any) -> dict[str, Any]:
    """A good HTTP row; the columns that are printed."""
    return {
        "vantage": "fra-1",
        "vantage_country": "DE",
        "vantage_asn": 64512,
        "kind": "http",
        "family": 4,
        "state": "measured",
        "reason": None,
        "operation": None,
        "failure": None,
        "sent": 1,
        "lost": 0,
        "address": "192.0.2.1",
        "rtt_ms_median": None,
        "connect_ms": 11.04,
        "tls_ms": 12.0,
        "first_byte_ms": 34.56,
        "total_ms": 40.0,
        "http_status": 200,
        "tls_version": "1.3",
        "answers": None,
    } | changes


def test_a_row_is_a_line() -> None:
    """Who, from where, how it ended, the time that the kind is asked for, and of what."""
    assert line(row()) == (
        "fra-1            DE       64512  http    good                          34.6 ms  "
        "192.0.2.1 HTTP 200 1.3"
    )
    failed = row(kind="tcp", operation="connect", failure="timeout", lost=1, connect_ms=None)
    assert " connect timeout " in line(failed | {"http_status": None, "tls_version": None})
    bare = row(vantage_country=None, vantage_asn=None, family=6)
    assert line(bare).startswith("fra-1            -            -  http/6  good")
    dns = row(kind="dns", answers="192.0.2.1,192.0.2.2", http_status=None, tls_version=None)
    assert line(dns).endswith("40.0 ms  192.0.2.1,192.0.2.2")
    skipped = row(state="not_run", reason="unsupported", first_byte_ms=None, address=None)
    assert " not run: unsupported " in line(skipped | {"http_status": None, "tls_version": None})
    assert HEAD.index("DETAIL") == line(row()).index("192.0.2.1")


def test_a_summary_counts_each_outcome_of_each_kind() -> None:
    """No time where none was measured; losses are no success."""
    rows = [
        row(),
        row(first_byte_ms=10.0),
        row(operation="tls", failure="tls_expired", lost=1),
        row(kind="icmp", sent=3, lost=1, rtt_ms_median=5.0),
        row(family=6, first_byte_ms=None),
    ]
    assert summary(rows) == [
        "http    2 of 3 good, 10.0 ms to 34.6 ms, median 22.3 ms; 1 tls tls_expired",
        "http/6  1 of 1 good",
        "icmp    0 of 1 good; 1 1 of 3 lost",
    ]
