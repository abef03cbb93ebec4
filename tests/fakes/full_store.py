"""A program: a store on a small tmpfs that fills up, mostly in the middle of a checkpoint.

A log that cannot be written fails one transaction; a checkpoint that cannot be written leaves DuckDB's
whole database dead for its process. Prints as JSON what was acknowledged, told and found again.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import duckdb
from structlog.testing import capture_logs

from coordinator.core.intake import BatchName
from coordinator.store.commit import Fate
from coordinator.store.writer import Store
from proto.model import Result
from tests.fakes.coordinator_store import Fates, a_store, submit
from tests.fakes.reports import NOW_US, row

SIZE_MIB: Final = 24
ROWS: Final = 4000
LOG_LIMIT: Final = "SET GLOBAL wal_autocheckpoint = '2MB'"
LEFT_BYTES: Final = (3 << 20, 1 << 20)
"""What other programs leave, time after time: room for the log, so that the checkpoint fails; then not even that."""


class Probe:
    """Sends reports in order, each until it is acknowledged, as a probe with a spool does."""

    def __init__(self) -> None:
        self.fates = Fates()
        self.acked = 0
        self.refusals = 0
        self._session = 0
        self._chance = random.Random(5)

    async def send(self, store: Store) -> bool:
        """The next report; False when it was sent away."""
        seq = self.acked + 1
        rows = [self._row(ROWS * seq + n) for n in range(ROWS)]
        before = len(self.fates.order)
        name = BatchName("p1", 7, seq)
        submit(store, self.fates, rows, name, session=self._session)
        await self.fates.wait(before + 1)
        if self.fates.by_seq["p1", 7, seq][0] in {Fate.COMMITTED, Fate.DUPLICATE}:
            self.acked = seq
            return True
        assert self.fates.by_seq["p1", 7, seq][0] is Fate.DEFERRED, self.fates.by_seq
        self.refusals += 1
        store.end_session(self._session)
        self._session += 1
        return False

    def _row(self, number: int) -> Result:
        rtt_us = self._chance.randrange(1 << 20)
        return row(
            1, NOW_US - number * 1000, rtt_us_min=rtt_us, rtt_us_median=rtt_us, rtt_us_max=rtt_us
        )


def fill(directory: Path, *, leave: int) -> None:
    """Another program takes all but `leave` bytes."""
    free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
    with (directory / "hog").open("wb") as hog:
        hog.write(bytes(max(0, free - leave)))


async def survive(directory: Path) -> dict[str, Any]:
    """Let the disk fill up and be emptied again, several times."""
    probe, told, readers_failed = Probe(), [], 0
    async with a_store(directory) as store:
        for left_bytes in LEFT_BYTES:
            await store.run_in_store(lambda con: con.execute(LOG_LIMIT).fetchall())
            fill(directory, leave=left_bytes)
            while await probe.send(store):
                pass
            told.append(store.trouble)
            (directory / "hog").unlink()
            while not await probe.send(store):
                pass
            with store.cursor() as cursor:
                rows = cursor.execute("SELECT count(*) FROM results").fetchall()[0][0]
                readers_failed += rows != probe.acked * ROWS
        trouble_after = store.trouble
    with duckdb.connect(directory / "soundings.duckdb", read_only=True) as file:
        counts = file.execute("SELECT count(*), count(DISTINCT slot_at) FROM results").fetchall()[0]
    return {
        "acked_rows": probe.acked * ROWS,
        "stored": counts,
        "refusals": probe.refusals,
        "told": told,
        "trouble_after": trouble_after,
        "readers_failed": readers_failed,
    }


def main(directory: Path) -> None:
    """Mount, survive, tell."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(directory)]
    subprocess.run(mount, check=True)
    with capture_logs() as logs:
        answer = asyncio.run(survive(directory))
    errors = [entry["error"] for entry in logs if entry["log_level"] == "error"]
    print(json.dumps({**answer, "errors": errors}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
