"""A real store in a temporary directory, with one configuration, two probes and their plans."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from coordinator.core.intake import BatchName
from coordinator.core.registry import Probe, ProbeState, Vantage
from coordinator.core.validation import validate
from coordinator.store.catalogue import Source, accept_config, record_probes
from coordinator.store.commit import Fate, Faults
from coordinator.store.writer import Store
from proto.model import Certificate, Kind, Result
from tests.fakes.reports import NOW_US, arrival_of

CONFIG = validate(
    {
        "service": [
            {
                "name": "x",
                "component": [
                    {
                        "name": "spaces",
                        "url": "https://spaces.x.test/live",
                        "prefix": "192.0.2.0/24",
                        "asn": 64500,
                    }
                ],
            }
        ],
        "anchor": [{"name": "a", "url": "tcp://a.test:7"}],
    },
    file="f",
)

PROBES = (
    Probe(
        probe_id="p1",
        name="v01",
        declared=Vantage(asn=64512, country="DE", provider="hoster", labels={"tier": "vps"}),
        state=ProbeState.ENROLLED,
        enrolled_at_us=NOW_US,
    ),
    Probe(
        probe_id="p2",
        name="v02",
        declared=Vantage(),
        state=ProbeState.ENROLLED,
        enrolled_at_us=NOW_US,
    ),
)


class Fates:
    """Collects what the store replied, by name, and lets a test wait for it."""

    def __init__(self) -> None:
        self.by_seq: dict[tuple[str, int, int], tuple[Fate, str]] = {}
        self.order: list[int] = []
        self._wake = asyncio.Event()

    def reply_for(self, name: BatchName) -> Callable[[Fate, str], None]:
        """The reply of one report."""

        def reply(fate: Fate, reason: str) -> None:
            self.by_seq[name.probe_id, name.epoch, name.seq] = (fate, reason)
            self.order.append(name.seq)
            self._wake.set()

        return reply

    async def wait(self, count: int) -> list[Fate]:
        """Wait for so many replies; their fates in order of name."""
        async with asyncio.timeout(20):
            while len(self.order) < count:
                self._wake.clear()
                await self._wake.wait()
        return [self.by_seq[key][0] for key in sorted(self.by_seq)]


class Disk:
    """A disk whose free space a test sets."""

    def __init__(self) -> None:
        self.free = 1 << 40

    def free_bytes(self) -> int:
        """The space that is left."""
        return self.free


@asynccontextmanager
async def a_store(
    path: Path,
    *,
    faults: Faults | None = None,
    disk: Disk | None = None,
    later: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Store]:
    """A started store that knows CONFIG and PROBES; `later` seconds are added to its clock."""
    store = Store(
        path / "soundings.duckdb",
        free_bytes=(disk or Disk()).free_bytes,
        faults=faults or Faults(),
        monotonic=lambda: time.monotonic() + later(),
    )
    store.start()
    try:
        source = Source(text="", sha256="s", loaded_at_us=NOW_US, loaded_by="start")
        catalogue = await store.run_in_store(lambda con: accept_config(con, CONFIG, source))
        await store.run_in_store(lambda con: record_probes(con, PROBES, recorded_at_us=NOW_US))
        checks = [definition.check for definition in catalogue.definitions]
        numbers = frozenset(check.check_no for check in checks)
        traces = frozenset(check.check_no for check in checks if check.kind is Kind.TRACE)
        for probe in PROBES:
            store.allow(probe.probe_id, numbers, traces=traces)
        yield store
    finally:
        await store.stop()


def submit(
    store: Store,
    fates: Fates,
    rows: Sequence[Result],
    name: BatchName,
    *,
    session: int = 1,
    certificates: Sequence[Certificate] = (),
) -> None:
    """Hand one report to the store."""
    reply = fates.reply_for(name)
    store.submit(arrival_of(rows, reply, name, session=session, certificates=certificates))


def ask(store: Store, sql: str) -> list[tuple[Any, ...]]:
    """Read from the store on a cursor of its own."""
    with store.cursor() as cursor:
        return cursor.execute(sql).fetchall()
