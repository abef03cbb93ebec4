"""A page over a real store that a small world has filled: for tests and for looking at it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from coordinator.core.revision import Subject
from coordinator.core.settings import Address
from coordinator.core.watermark import Watermarks
from coordinator.judging import Assignment, Judge
from coordinator.progress import Progress
from coordinator.store.rows import ClockRow, HeartbeatRow, ProbeRow, RejectRow, SessionRow
from coordinator.store.writer import Store
from coordinator.web.desk import Desk
from coordinator.web.server import serve
from tests.fakes.facts import PLACES, SECOND_US, T0_US, Fact, world_rows, write

WIDTH_US = 60 * SECOND_US
CALM = 30
FAULTY = 4
NOW_US = T0_US + (CALM + FAULTY) * WIDTH_US + 90 * SECOND_US


@asynccontextmanager
async def open_page(path: Path, *, title: str = "X") -> AsyncIterator[tuple[str, Store]]:
    """A page over an empty store; yields http://HOST:PORT and the store."""
    store = Store(path / "soundings.duckdb", free_bytes=lambda: 1 << 40)
    store.start()
    try:
        async with serve(make_desk(store, Progress(), title), Address("127.0.0.1", 0)) as bound:
            yield f"http://{bound}", store
    finally:
        await store.stop()


@asynccontextmanager
async def open_busy_page(path: Path, *, title: str = "X") -> AsyncIterator[tuple[str, Store]]:
    """A page after half an hour of calm and four bins in which Spaces answers 503."""
    store = Store(path / "soundings.duckdb", free_bytes=lambda: 1 << 40)
    store.start()
    progress = Progress()
    try:
        await _live(store, progress)
        _say_of_fleet(store)
        async with serve(make_desk(store, progress, title), Address("127.0.0.1", 0)) as bound:
            await store.run_in_store(lambda _: None)  # what was recorded is committed
            yield f"http://{bound}", store
    finally:
        await store.stop()


def make_desk(store: Store, progress: Progress, title: str) -> Desk:
    return Desk(
        wall=lambda: NOW_US,
        cursor=store.cursor,
        counts=lambda: store.counts,
        trouble=lambda: store.trouble,
        sessions=lambda: 11,
        refusals=lambda: {("fleet", "no_call"): 7},
        name=lambda: "harbour",
        titles=lambda: {"x": title},
        bin_s=lambda: 60,
        config_version=lambda: 3,
        config_findings=tuple,
        progress=progress,
    )


async def _live(store: Store, progress: Progress) -> None:
    marks = Watermarks(
        width_us=WIDTH_US,
        provisional_us=90 * SECOND_US,
        revised_us=900 * SECOND_US,
        final_us=86_400 * SECOND_US,
    )
    subjects = tuple(Subject("x", part) for part in (None, "web", "api", "spaces"))
    assigned = Assignment(marks=marks, window_us=5 * WIDTH_US, subjects=())
    judged = [assigned]
    now_us = [T0_US + CALM * WIDTH_US]
    judge = Judge(store, wall=lambda: now_us[0], assignment=lambda: judged[0], progress=progress)
    calm = list(world_rows(range(CALM), width_us=WIDTH_US))
    faulty = list(world_rows(range(CALM, CALM + FAULTY), width_us=WIDTH_US, broken=_is_broken))
    for rows, asked in ((calm, ()), (faulty, subjects)):  # nobody reads the verdicts of the calm
        judged[0] = replace(assigned, subjects=asked)
        await store.run_in_store(partial(write, facts=rows))
        while await judge.step():
            pass
        now_us[0] = NOW_US


def _is_broken(fact: Fact) -> bool:
    """Spaces fails for everybody but one vantage point that keeps getting through."""
    return fact.component == "spaces" and fact.vantage != "v03"


def _say_of_fleet(store: Store) -> None:
    for number, place in enumerate(PLACES):
        store.record(
            ProbeRow(
                probe_id=place.name,
                name=place.name,
                vantage_asn=place.asn if number else None,
                vantage_country=place.country if number else None,
                provider="hoster <b>" if number == 1 else None,
                labels="{}",
                state="revoked" if number == 2 else "enrolled",
                recorded_at_us=T0_US,
            )
        )
        if number == 11:
            continue
        at_us = NOW_US - number * 7 * SECOND_US
        store.record(SessionRow(at_us=T0_US, probe_id=place.name, what="connect", version="0.1.0"))
        store.record(
            ClockRow(at_us=at_us, probe_id=place.name, offset_ms=number - 3.4, error_ms=12.0)
        )
        store.record(
            HeartbeatRow(
                received_at_us=at_us,
                sent_at_us=at_us,
                probe_id=place.name,
                plan_version=1,
                uptime_s=60.0,
                rss_bytes=40 << 20,
                cpu_s=2.0,
                spool_bytes=0,
                spool_rows=number * 3,
                evicted_rows=1200 if number == 5 else 0,
                queue_depth=0,
                overloaded_slots=7 if number == 5 else 0,
                clock_drift_ppm=None,
                lateness_ms_p99=1.0,
                receive_drops=0,
                clock_synchronised=True,
            )
        )
    store.record(
        RejectRow(
            received_at_us=T0_US,
            probe_id="v01",
            epoch=1,
            seq=1,
            row_count=9,
            reason="foreign check",
        )
    )
