"""What is shown of a fleet: what each probe last said, and nothing that it said before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from coordinator.store import serving
from coordinator.store.rows import ClockRow, HeartbeatRow, Row, SessionRow
from tests.fakes.coordinator_store import a_store
from tests.fakes.reports import NOW_US

SECOND_US: Final = 1_000_000


def beat(at_s: int, **said: Any) -> HeartbeatRow:
    """A heartbeat so many seconds after NOW_US that says little."""
    at_us = NOW_US + at_s * SECOND_US
    plain = {
        "plan_version": 1, "uptime_s": 1.0, "rss_bytes": None, "cpu_s": 0.5, "spool_bytes": 0,
        "spool_rows": 0, "evicted_rows": 0, "queue_depth": 0, "lateness_ms_p99": None,
        "receive_drops": None, "clock_synchronised": None, "overloaded_slots": 0,
        "clock_drift_ppm": None,
    }  # fmt: skip
    return HeartbeatRow(probe_id="p1", received_at_us=at_us, sent_at_us=at_us, **{**plain, **said})


def talk(at_s: int, what: str = "connect", **said: Any) -> SessionRow:
    """What was noted of a session so many seconds after NOW_US."""
    return SessionRow(probe_id="p1", at_us=NOW_US + at_s * SECOND_US, what=what, **said)


def clock(at_s: int, offset_ms: float, error_ms: float) -> ClockRow:
    """A clock so many seconds after NOW_US."""
    at_us = NOW_US + at_s * SECOND_US
    return ClockRow(probe_id="p1", at_us=at_us, offset_ms=offset_ms, error_ms=error_ms)


def shown(path: Path, rows: Sequence[Row], *, now_s: int = 100) -> dict[str, Any]:
    """What is shown of the probe after these were recorded."""

    async def ask() -> list[serving.Record]:
        async with a_store(path) as store:
            for row in rows:
                store.record(row)
            await store.run_in_store(lambda _: None)
            with store.cursor() as cursor:
                return serving.fleet(cursor, now_us=NOW_US + now_s * SECOND_US)

    path.mkdir(exist_ok=True)
    return next(one for one in asyncio.run(ask()) if one["probe_id"] == "p1")


def test_what_the_newest_heartbeat_does_not_say_is_not_said(tmp_path: Path) -> None:
    """A figure of an earlier heartbeat does not stand in for one that is missing in the newest."""
    first = beat(1, lateness_ms_p99=5.0, receive_drops=7, rss_bytes=1, evicted_rows=3)
    row = shown(tmp_path, [talk(0), first, beat(2, evicted_rows=4)])
    assert row["evicted_rows"] == 4
    assert row["lateness_ms_p99"] is row["receive_drops"] is row["rss_bytes"] is None


def test_a_hello_speaks_until_the_first_heartbeat(tmp_path: Path) -> None:
    """What waited at the start is no figure of a heartbeat that says nothing of it."""
    hello = talk(0, backlog_rows=5, evicted_rows=2)
    row = shown(tmp_path, [hello])
    assert (row["spool_rows"], row["evicted_rows"]) == (5, 2)
    row = shown(tmp_path / "on", [hello, beat(1, spool_rows=None, evicted_rows=None)])
    assert (row["spool_rows"], row["evicted_rows"]) == (None, None)


def test_what_the_newest_hello_does_not_say_is_not_said(tmp_path: Path) -> None:
    """Version, families and abilities are those of one hello, the newest, or none."""
    before = talk(1, version="1", families="4,6", capabilities="icmp4")
    row = shown(tmp_path, [before, talk(2, "disconnect", version="1"), talk(3)])
    assert row["session"] == "connect"
    assert row["version"] is row["families"] is row["capabilities"] is None
    row = shown(tmp_path / "again", [before, talk(2, "disconnect")])
    assert (row["session"], row["version"], row["families"]) == ("disconnect", "1", ["4", "6"])


def test_a_clock_is_shown_with_its_own_bound(tmp_path: Path) -> None:
    """Offset and bound are of one estimate, the newest, however small it is."""
    row = shown(tmp_path, [clock(3, 9.0, 8.0), clock(4, 1.0, 2.0), clock(2, 5.0, 50.0)])
    assert (row["offset_ms"], row["error_ms"]) == (1.0, 2.0)


def test_before_its_first_heartbeat_a_probe_has_said_what_its_spool_holds(tmp_path: Path) -> None:
    """A session begins its figures anew: those of the hello, and none of the process before."""
    old = beat(1, lateness_ms_p99=5.0, overloaded_slots=9, evicted_rows=3)
    row = shown(tmp_path, [talk(0), old, talk(2, backlog_rows=50, evicted_rows=8)])
    assert (row["spool_rows"], row["evicted_rows"]) == (50, 8)
    assert row["lateness_ms_p99"] is row["overloaded_slots"] is row["uptime_s"] is None


def test_figures_stay_when_a_probe_goes(tmp_path: Path) -> None:
    """Its last heartbeat is what it last said, whatever was noted after it."""
    row = shown(tmp_path, [talk(0, evicted_rows=1), beat(1, evicted_rows=2), talk(5, "silent")])
    assert (row["session"], row["evicted_rows"]) == ("silent", 2)


@pytest.mark.parametrize("rows", [[talk(0, evicted_rows=1)], [talk(0), beat(1, evicted_rows=1)]])
def test_what_was_said_a_day_ago_is_not_shown(tmp_path: Path, rows: list[Row]) -> None:
    """A hello ages like a heartbeat."""
    assert shown(tmp_path, rows, now_s=86_500)["evicted_rows"] is None
