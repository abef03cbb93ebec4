"""A commit that does not end: it is told while it lasts, and forgotten when it is over."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from structlog.testing import capture_logs

from coordinator.core.intake import BatchName
from coordinator.core.pulse import STALL_S
from coordinator.store.commit import Fate, Faults
from tests.fakes.coordinator_store import Fates, a_store, submit
from tests.fakes.reports import row


def test_a_commit_that_stands_still_is_trouble_until_it_is_done(tmp_path: Path) -> None:
    """Told from the limit on, logged once each way; then the report is committed and all is well."""
    reached, go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        reached.set()
        assert go_on.wait(20)

    later_s = 0.0

    async def scenario() -> None:
        nonlocal later_s
        fates = Fates()
        faults = Faults(before_commit=stand_still)
        async with a_store(tmp_path, faults=faults, later=lambda: later_s) as store:
            submit(store, fates, [row()], BatchName("p1", 7, 1))
            assert await asyncio.to_thread(reached.wait, 20)
            store.look_for_stall()
            assert store.trouble is None
            later_s = STALL_S
            store.look_for_stall()
            store.look_for_stall()
            assert (store.trouble or "").startswith("a commit has taken 5 s and is not done")
            go_on.set()
            assert await fates.wait(1) == [Fate.COMMITTED]
            await store.run_in_store(lambda con: con.execute("SELECT 1").fetchall())
            store.look_for_stall()
            assert store.trouble is None

    with capture_logs() as logs:
        asyncio.run(scenario())
    events = [entry["event"] for entry in logs if entry["event"].startswith("store_")]
    assert events == ["store_stands_still", "store_goes_on"]
