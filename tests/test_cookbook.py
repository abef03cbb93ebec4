"""Every question of the cookbook is asked, of a story with a known answer."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pytest

from coordinator.rpc.session import GONE, SILENT
from coordinator.store.rows import ClockRow, ProbeRow, SessionRow, insert_rows
from proto.gen import fleet_pb2
from tests.fakes.coordinators import a_coordinator
from tests.fakes.facts import Fact, write
from tests.fakes.fleet_client import session
from tests.fakes.reports import batch_of, body_of, row

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cookbook.md"
T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = 60


def questions() -> dict[str, str]:
    """Each heading's SQL."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    found = {
        part.splitlines()[0]: re.findall(r"```sql\n(.*?)```", part, re.DOTALL) for part in parts
    }
    assert all(len(sql) == 1 for sql in found.values())
    return {heading: sql for heading, (sql,) in found.items()}


def us(seconds: float) -> int:
    """So many seconds into the story."""
    return round((T0 + timedelta(seconds=seconds)).timestamp() * 1e6)


@pytest.fixture
def store() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty store in memory."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for path in sorted(files("proto.schema").iterdir(), key=lambda p: p.name):
            if path.name.endswith(".sql"):
                con.execute(path.read_text(encoding="utf-8"))
        yield con


def probe(name: str, asn: int, state: str = "enrolled") -> ProbeRow:
    """A vantage point."""
    fields = dict.fromkeys(
        ("declared_asn", "declared_country", "seen_asn", "seen_country", "asn_source",
         "country_source", "state_reason", "state_by", "state_at_us"),
    )  # fmt: skip
    known = {name for name in fields if name in ProbeRow.__dataclass_fields__}
    return ProbeRow(
        probe_id=name, name=name, vantage_asn=asn, vantage_country="DE", provider=None,
        labels="{}", state=state, recorded_at_us=us(-MINUTE), **dict.fromkeys(known),
    )  # fmt: skip


def left(name: str, at_s: float, *, back_s: float | None, detail: str = GONE) -> list[SessionRow]:
    """A probe comes, leaves, and perhaps comes back."""
    what = "silent" if detail == SILENT else "disconnect"
    rows = [
        SessionRow(at_us=us(0), probe_id=name, what="connect"),
        SessionRow(at_us=us(at_s), probe_id=name, what=what, detail=detail),
    ]
    if back_s is not None:
        rows.append(SessionRow(at_us=us(back_s), probe_id=name, what="connect"))
    return rows


def test_networks_that_lost_probes_at_once_stand_out(store: duckdb.DuckDBPyConnection) -> None:
    """All of one AS leave within minutes and one stays away; elsewhere probes change connections, one host
    is started anew, and the coordinator sends all away as it stops.
    """
    insert_rows(
        store,
        [
            *(probe(name, 64512) for name in ("a1", "a2", "a3")),
            *(probe(name, 64513) for name in ("b1", "b2", "b3")),
            *left("a1", 3600, back_s=4800),
            *left("a2", 3610, back_s=4810, detail=SILENT),
            *left("a3", 3620, back_s=None),
            *left("b1", 3600, back_s=3604),
            *left("b2", 3605, back_s=3640),
            *left("b3", 3630, back_s=4000),
            *(
                SessionRow(at_us=us(9000), probe_id=name, what="disconnect", detail="draining")
                for name in ("a1", "a2", "b1", "b2", "b3")
            ),
        ],
    )
    found = store.execute(questions()["Which networks lost probes at once?"]).fetchall()
    since = datetime(2026, 11, 23, 13)  # noqa: DTZ001  # stamps of the store are UTC
    assert found == [(since, 64512, 3, 3, 1, 1, timedelta(seconds=1200))]


def test_a_doubtful_clock_is_named_with_its_bound(store: duckdb.DuckDBPyConnection) -> None:
    """The newest estimate counts; off is beyond the bound; marked rows are counted."""
    insert_rows(
        store,
        [
            probe("p01", 64512),
            probe("p02", 64513),
            ClockRow(at_us=us(0), probe_id="p01", offset_ms=1.0, error_ms=5.0),
            ClockRow(at_us=us(60), probe_id="p01", offset_ms=-400.0, error_ms=5.0),
        ],
    )
    write(store, [Fact(vantage="p01", validity="clock_suspect"), Fact(vantage="p01", seq=2)])
    found = store.execute(questions()["Whose clock is not to be trusted?"]).fetchall()
    by_name = {row[0]: row[1:] for row in found}
    assert by_name["p01"] == (-400.0, 5.0, True, 1)
    assert by_name["p02"] == (None, None, None, None)


def test_sessions_end_on_record_with_their_reasons(tmp_path: Path) -> None:
    """Hung up or broken off, taken over, revoked, refused: each is a row, and an absence has its place."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe(asn=64512, country="FR")
            ends: list[str] = []

            async def on_record(reason: str) -> None:
                ends.append(reason)
                await house.until(
                    "SELECT detail FROM sessions WHERE what <> 'connect' ORDER BY at_time, rowid",
                    [(one,) for one in ends],
                )

            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=time.time_ns() // 1000)
                await line.hang_up()
                await line.ended()
            await on_record(GONE)
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=time.time_ns() // 1000)
            await on_record(GONE)
            async with session(house.fleet, probe.channel()) as first:
                await first.hello(sent_at_us=time.time_ns() // 1000)
                async with session(house.fleet, probe.channel()) as second:
                    await second.hello(sent_at_us=time.time_ns() // 1000)
                    await on_record("another session took over")
                    await house.operator.revoke(probe.probe_id)
                    await second.ended()
            await on_record("this probe was revoked")
            async with session(house.fleet, probe.channel()) as line:
                await line.ended()
            await on_record("this probe was revoked; enrol it anew with a new token")
            assert house.ask(
                "SELECT vantage_asn, vantage_country, reason, until_at IS NULL, by_coordinator"
                " FROM absences ORDER BY from_at"
            ) == [
                (64512, "FR", GONE, False, False),
                (64512, "FR", GONE, False, False),
                (64512, "FR", "this probe was revoked", True, True),
            ]

    asyncio.run(scenario())


def test_a_report_of_a_doubtful_clock_is_marked(tmp_path: Path) -> None:
    """A row that says its clock was off beyond the bound is kept, and marked, whatever it thinks of itself."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                now_us = time.time_ns() // 1000
                await line.hello(sent_at_us=now_us)
                rows: list[Any] = [
                    row(1, now_us, clock_offset_us=-500_000, clock_error_us=900),
                    row(2, now_us, clock_offset_us=-250, clock_error_us=900),
                ]
                await line.send(batch=batch_of(body_of(rows), rows=2))
                await line.receive("ack")
                await line.send(clock=fleet_pb2.ClockAsk(t1_ns=1, offset_us=-500_000, error_us=900))
                await line.receive("clock")
            marked = "SELECT kind, validity FROM results ORDER BY ALL"
            assert {str(v) for _, v in house.ask(marked)} == {"ok", "clock_suspect"}
            await house.until("SELECT count(*) FROM clock_offsets", [(1,)])
            ((found),) = house.ask(questions()["Whose clock is not to be trusted?"])
            assert found[1:] == (pytest.approx(-500), pytest.approx(0.9), True, 1)

    asyncio.run(scenario())
