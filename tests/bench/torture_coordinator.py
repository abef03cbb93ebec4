"""The coordinator of the durability drill: the real one, struck at a chosen instant, or broken.

Run as `python -m tests.bench.torture_coordinator CONFIG DATA FAULT COUNT BROKEN TIMES`. FAULT and
COUNT are those of `tests.fakes.drilled_coordinator`. BROKEN is `nothing`, or what the drill must
notice: `dedup` forgets what was committed, `ack` acknowledges before the commit. Each commit leaves
a line in TIMES: when (wall, us), how long COMMIT took (us), bytes of the write-ahead log after it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from coordinator.app import Launch, wall_us
from coordinator.cli import log_to_stderr, serve
from coordinator.datadir import DataDir
from coordinator.services import SERVICES
from coordinator.store.commit import Arrival, Fate, Faults
from coordinator.store.writer import Store
from tests.fakes.drilled_coordinator import Drill


class ForgetfulStore(Store):
    """Broken on purpose: it holds every report for a fresh one."""

    def marks_of(self, probe_id: str) -> dict[int, int]:
        """Nothing was ever committed."""
        del probe_id
        self._known.marks.clear()
        return {}


class HastyStore(Store):
    """Broken on purpose: it acknowledges what it is about to commit."""

    def submit(self, arrival: Arrival) -> None:
        """Say that it is durable, then see to it."""
        arrival.reply(Fate.COMMITTED, "")
        super().submit(replace(arrival, reply=lambda _fate, _reason: None))


STORES: Final[Mapping[str, Callable[..., Store]]] = {
    "nothing": Store,
    "dedup": ForgetfulStore,
    "ack": HastyStore,
}


class Times:
    """Writes down how long each COMMIT took."""

    def __init__(self, path: Path, wal: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._wal = wal
        self._began_ns = 0

    def begin(self) -> None:
        """COMMIT follows."""
        self._began_ns = time.monotonic_ns()

    def end(self) -> None:
        """COMMIT returned."""
        took_us = (time.monotonic_ns() - self._began_ns) // 1000
        size = self._wal.stat().st_size if self._wal.exists() else 0
        os.write(self._fd, f"{wall_us()} {took_us} {size}\n".encode())


def main(argv: Sequence[str]) -> None:
    """Serve until killed."""
    config, data, fault, count, broken, times = argv
    drill = Drill(int(count))
    watch = Times(Path(times), DataDir(Path(data)).store.with_suffix(".duckdb.wal"))

    def before_commit() -> None:
        if fault == "before_commit":
            drill.strike()
        watch.begin()

    def after_commit() -> None:
        if fault == "after_commit":
            drill.strike()
        watch.end()

    faults = Faults(drill.see, before_commit, after_commit)
    log_to_stderr()
    launch = Launch(
        config_file=Path(config),
        data_dir=Path(data),
        services=SERVICES,
        faults=faults,
        make_store=STORES[broken],
    )
    asyncio.run(serve(launch))


if __name__ == "__main__":
    main(sys.argv[1:])
