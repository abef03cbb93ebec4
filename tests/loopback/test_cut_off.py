"""A day without a coordinator: engine, outbox and spool under a virtual clock, then a real drain."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from probe.core.outcome import Outcome
from probe.core.spool import Eviction
from probe.engine import Engine, Runner
from probe.io.clock import Clocks
from probe.io.disk import SpoolSettings
from proto import slots
from proto.model import Check, HostLimits, Result
from tests.fakes.disks import MemoryDisk
from tests.fakes.fleet import Coordinator
from tests.fakes.ledgers import START_US, a_check, a_row
from tests.fakes.vantage import Vantage, enrolled

PROBE = "probe-1"
DAY_S = 86_400
SLICES = 120
FEW, MANY = (tuple(a_check(n, interval_s=60) for n in range(1, count + 1)) for count in (5, 20))
ROWS = 7200  # five checks in a day, or twenty in six hours
LIMITS = HostLimits(checks_per_s=1e6, per_target_per_minute=1e6, concurrent=1000)
SMALL_BYTES = 16 << 10


async def measure(vantage: Vantage, clock: MockClock, checks: Sequence[Check], seconds: int) -> int:
    """So much virtual time without a link; how many rows were measured."""
    begun_s = trio.current_time()
    measured, chance = 0, random.Random(1)  # times of their own, so that rows weigh what they do

    def wall() -> int:
        return START_US + round((trio.current_time() - begun_s) * 1e6)

    async def run(check: Check, _slot_at_us: int) -> Outcome:
        row = a_row(0, check_no=check.check_no, total_us=chance.randrange(20_000, 90_000))
        return Outcome(result=row, attempts=())

    def keep(row: Result, _certificates: object) -> None:
        nonlocal measured
        measured += 1
        vantage.outbox.add(row)

    runner = Runner(run=run, unsupported=lambda _check: None)
    engine = Engine(PROBE, clocks=Clocks(wall), limits=LIMITS, runner=runner, keep=keep)
    engine.adopt(checks)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        for _ in range(SLICES):
            with trio.move_on_after(seconds / SLICES):
                await trio.sleep_forever()
            await stored(vantage, clock)
        engine.stop()
    await stored(vantage, clock)
    return measured


async def stored(vantage: Vantage, clock: MockClock) -> None:
    """Store what waits, while virtual time stands: the spool writes in a thread, which is real."""
    clock.autojump_threshold = math.inf
    await vantage.outbox.flush()
    clock.autojump_threshold = 0


@asynccontextmanager
async def connected(vantage: Vantage, clock: MockClock) -> AsyncIterator[None]:
    """From here on time is real, as sockets need it, and the link is up."""
    clock.autojump_threshold, clock.rate = math.inf, 1.0
    async with trio.open_nursery() as nursery:
        await nursery.start(vantage.run)
        yield
        nursery.cancel_scope.cancel()


async def drained(vantage: Vantage) -> None:
    """Wait until the spool holds nothing more."""
    with trio.fail_after(30):
        while vantage.outbox.rows:
            await vantage.outbox.read(after=(0, 0), limit=1)


def slots_by_check(rows: list[Result]) -> dict[int, list[int]]:
    """In order of arrival."""
    found: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        found[row.check_no].append(row.slot_at_us)
    return found


def grid(check: Check, seconds: int) -> list[int]:
    """Every slot of that time."""
    step_us = round(check.interval_s * 1e6)
    phase = slots.phase_us(PROBE, check.check_no, step_us)
    first_us = slots.first_slot_us(START_US, interval_us=step_us, phase=phase)
    return list(range(first_us, START_US + seconds * 10**6 + 1, step_us))


async def test_a_day_cut_off_is_kept_and_arrives_whole(
    autojump_clock: MockClock, coordinator: Coordinator, tmp_path: Path
) -> None:
    """7,200 rows wait in order, arrive once each without a gap, and leave nothing behind."""
    disk = MemoryDisk()
    vantage = Vantage(enrolled(tmp_path, coordinator), flush_s=60, flush_rows=500, disk=disk)
    assert await measure(vantage, autojump_clock, FEW, DAY_S) == ROWS
    assert (vantage.outbox.rows, vantage.outbox.evicted_rows) == (ROWS, 0)
    reports = vantage.outbox.next_seq - 1
    async with connected(vantage, autojump_clock):
        await drained(vantage)
    assert slots_by_check(coordinator.seen.rows) == {c.check_no: grid(c, DAY_S) for c in FEW}
    assert [batch.seq for batch in coordinator.seen.batches] == list(range(1, reports + 1))
    assert {batch.epoch for batch in coordinator.seen.batches} == {vantage.outbox.epoch}
    assert not [name for name in disk.names() if name.endswith(".seg")]


@pytest.mark.parametrize("evict", list(Eviction))
async def test_what_a_small_spool_gave_up_is_counted_to_the_row(
    autojump_clock: MockClock, coordinator: Coordinator, tmp_path: Path, evict: Eviction
) -> None:
    """What arrives and what was evicted are what was measured; hello and heartbeat tell how many."""
    settings = SpoolSettings(cap_bytes=SMALL_BYTES, evict=evict)
    vantage = Vantage(
        enrolled(tmp_path, coordinator),
        flush_s=60,
        flush_rows=500,
        disk=MemoryDisk(),
        settings=settings,
    )
    measured = await measure(vantage, autojump_clock, MANY, DAY_S // 4)
    evicted = vantage.outbox.evicted_rows
    assert measured == ROWS
    assert ROWS // 4 < evicted < ROWS
    assert vantage.outbox.size_bytes <= SMALL_BYTES
    async with connected(vantage, autojump_clock):
        await drained(vantage)
        await trio.to_thread.run_sync(coordinator.wait, lambda seen: bool(seen.heartbeats))
    arrived = slots_by_check(coordinator.seen.rows)
    assert sum(map(len, arrived.values())) + evicted == measured
    for check in MANY:
        came, wanted = arrived[check.check_no], grid(check, DAY_S // 4)
        assert came == [slot for slot in wanted if slot in set(came)]
        assert (came == wanted[-len(came) :]) == (evict is Eviction.OLDEST)
    assert coordinator.seen.hellos[0].evicted_rows == evicted
    assert coordinator.seen.heartbeats[0].evicted_rows == evicted
