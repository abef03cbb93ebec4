"""Looks from time to time whether every probe is to be believed, and quarantines who is not.

A look counts in a worker thread; ingest and judging wait for none of it. What it finds is written down,
and a person can undo it: from then on only what came after his word counts, so that it holds until the
probe does it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import Final

import structlog

from coordinator.core.registry import Probe, ProbeState
from coordinator.core.trust import TrustFacts, doubts
from coordinator.runtime import Runtime
from coordinator.store.registry import Registry
from coordinator.store.rows import TrustRow
from coordinator.store.trust import Watched, count_facts, forget_canaries
from coordinator.store.writer import Store

LOOK_S: Final = 300.0
LOOKS_PER_RECORD: Final = 12
"""Counts of everybody are written down once an hour."""

CANARIES_KEPT_US: Final = 48 * 3600 * 1_000_000
"""A spool of two days may still name an answer."""


class Trust:
    """`changed` is awaited with every probe that was quarantined."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        *,
        wall: Callable[[], int],
        automatic: Callable[[], bool],
        changed: Callable[[Probe], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._store = store
        self._wall = wall
        self._automatic = automatic
        self._changed = changed
        self._looks = 0
        self._log = structlog.get_logger("trust")

    async def run(self, *, look_s: float = LOOK_S) -> None:
        """Look for ever; trouble of the store is logged and looked past."""
        while True:
            await asyncio.sleep(look_s)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 whatever ails the store, the next look comes
                self._log.warning("trust_look_failed", error=str(error)[:300])

    async def look(self) -> Mapping[str, TrustFacts]:
        """Count once, and quarantine whoever does what no honest probe does; gives the counts."""
        now_us = self._wall()
        watched = [_watched(p) for p in self._registry.probes() if p.state is ProbeState.ENROLLED]
        if not watched:
            return {}
        facts = await asyncio.to_thread(self._count, watched, now_us)
        found = {probe_id: doubts(counted) for probe_id, counted in facts.items()}
        await self._write(watched, facts, found, now_us)
        for probe_id, reasons in found.items():
            if reasons:
                await self._doubt(probe_id, reasons)
        return facts

    def _count(self, watched: Sequence[Watched], now_us: int) -> dict[str, TrustFacts]:
        with self._store.cursor() as cursor:
            return count_facts(cursor, watched, now_us=now_us)

    async def _write(
        self,
        watched: Sequence[Watched],
        facts: Mapping[str, TrustFacts],
        found: Mapping[str, Mapping[str, str]],
        now_us: int,
    ) -> None:
        everybody = self._looks % LOOKS_PER_RECORD == 0
        self._looks += 1
        for one in watched:
            if everybody or found[one.probe_id]:
                row = TrustRow(
                    counted_at_us=now_us,
                    probe_id=one.probe_id,
                    since_us=one.since_us,
                    reasons=" ".join(found[one.probe_id]) or None,
                    **asdict(facts[one.probe_id]),
                )
                self._store.record(row)
        if everybody:
            await self._store.run_in_store(
                partial(forget_canaries, before_us=now_us - CANARIES_KEPT_US)
            )

    async def _doubt(self, probe_id: str, reasons: Mapping[str, str]) -> None:
        text = "; ".join(reasons.values())
        acts = self._automatic()
        self._log.warning("probe_doubted", probe_id=probe_id, quarantined=acts, reason=text)
        if acts:
            state = partial(self._registry.set_state, state=ProbeState.QUARANTINED, reason=text)
            await self._changed(await asyncio.to_thread(state, probe_id))


def _watched(probe: Probe) -> Watched:
    since_us = probe.decision.at_us if probe.decision else probe.enrolled_at_us
    return Watched(probe_id=probe.probe_id, name=probe.name, since_us=since_us)


@asynccontextmanager
async def watch_trust(runtime: Runtime) -> AsyncIterator[Mapping[str, str]]:
    """Look for as long as the coordinator runs."""
    trust = Trust(
        runtime.registry,
        runtime.store,
        wall=runtime.wall,
        automatic=lambda: runtime.configs.config.distrust,
        changed=runtime.changed,
    )
    loop = asyncio.create_task(trust.run(), name="trust")
    try:
        yield {}
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
