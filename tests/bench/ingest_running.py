"""The two processes of an ingest bench, and what lies in the store when they are gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import duckdb

from probe.core import backoff
from tests.bench.contract import say
from tests.bench.fleet_files import FleetFiles
from tests.bench.processes import Told

ROWS: Final = 100
"""Of one report."""


@contextmanager
def coordinator_of(files: FleetFiles) -> Iterator[tuple[Told, str]]:
    """The real command; gives the process and where its fleet door is."""
    argv = ["-m", "soundings", "coordinator", "run"]
    argv += ["--config", str(files.config), "--data", str(files.data)]
    server = Told.start(argv, log=files.data.with_suffix(".log"))
    try:
        doors = dict(word.split("=", 1) for word in server.line().split()[1:])
        yield server, doors["fleet"]
    finally:
        say(f"the coordinator ended with {server.stop(within_s=60)}")


def load_of(
    files: FleetFiles,
    address: str,
    *,
    probes: int,
    period_s: float,
    base_s: float = backoff.BASE_S,
    cap_s: float = backoff.CAP_S,
) -> Told:
    """The fleet's process; its first answer comes when every probe is connected."""
    argv = ["-m", "tests.bench.ingest_load", "--fleet", str(files.fleet), "--address", address]
    argv += ["--probes", str(probes), "--rows", str(ROWS), "--period-s", str(period_s)]
    argv += ["--backoff-base-s", str(base_s), "--backoff-cap-s", str(cap_s)]
    return Told.start(argv, log=files.fleet.with_suffix(".log"))


def recount(files: FleetFiles) -> tuple[int, int]:
    """Rows in the closed store, and how many of them have a name of their own."""
    with duckdb.connect(files.data / "soundings.duckdb", read_only=True) as store:
        stored = store.execute("SELECT count(*) FROM results").fetchall()[0][0]
        batches = store.execute(
            "SELECT coalesce(sum(row_count), 0) FROM "
            "(SELECT DISTINCT probe_id, epoch, seq, row_count FROM batches)"
        ).fetchall()[0][0]
    return stored, batches
