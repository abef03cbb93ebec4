"""The end of a coordinator that is at work."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from coordinator.live import judge_and_show
from tests.fakes.coordinators import a_coordinator
from tests.fakes.facts import T0_US, open_store, world_rows, write

MINUTE_US = 60_000_000
BACKLOG = 30  # bins that came in while nobody judged


def leave_a_backlog(path: Path) -> None:
    """A store with results of the last half hour that were never judged."""
    path.parent.mkdir(parents=True)
    con = open_store(str(path))
    begin_us = (time.time_ns() // 1000 // MINUTE_US - BACKLOG - 3) * MINUTE_US
    write(
        con,
        (
            replace(
                row,
                slot_at_us=row.slot_at_us + begin_us - T0_US,
                received_at_us=row.received_at_us + begin_us - T0_US,
            )
            for row in world_rows(range(BACKLOG), width_us=MINUTE_US)
        ),
    )
    con.close()


@pytest.mark.parametrize("questions", [3, 6])
def test_it_ends_well_while_a_window_is_being_judged(tmp_path: Path, questions: int) -> None:
    """Leaving while a question runs in its worker thread raises nothing and closes the file."""
    store = tmp_path / "d" / "soundings.duckdb"
    leave_a_backlog(store)

    async def scenario() -> None:
        async with a_coordinator(tmp_path, services=(judge_and_show,)) as house:
            out = house.runtime.store._opened.readers._out
            seen: set[duckdb.DuckDBPyConnection] = set()  # kept, so that none is counted twice
            async with asyncio.timeout(30):
                while len(seen) < questions:
                    await asyncio.sleep(0)
                    seen |= out.copy()

    asyncio.run(scenario())
    assert not store.with_name(store.name + ".wal").exists()
    duckdb.connect(store, read_only=True).close()
