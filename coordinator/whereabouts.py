"""Where each probe is: the address that it comes from, looked up, kept, and stamped on what follows.

A probe that moved is another vantage point from the instant of its hello: its new place is on disk
before the first report of that session is taken, because rows are stamped with what is known when they
come. Who stays connected while the table changes is looked up anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from coordinator.core.networks import Place
from coordinator.core.registry import Probe, Sources
from coordinator.presence import Presence
from coordinator.store.registry import Registry


class Whereabouts:
    """`find` looks an address up; `moved` is awaited with every probe of which anything changed."""

    def __init__(
        self,
        registry: Registry,
        presence: Presence,
        *,
        find: Callable[[str], Place | None],
        moved: Callable[[Probe], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._presence = presence
        self._find = find
        self._moved = moved
        self._owed: set[str] = set()  # probes whose row is not written anew yet
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("whereabouts")

    async def note(self, probe: Probe, address: str | None) -> Probe:
        """A probe came from an address; gives what is known of it now.

        Raises StoreUnavailableError, or the store's own error, when that cannot be written down.
        """
        place = None if address is None else self._find(address)
        if probe.seen == place:
            return probe
        after = await asyncio.to_thread(self._registry.see, probe.probe_id, place)
        self._say(probe, after, address)
        await self._moved(after)
        return after

    def look_again(self) -> None:
        """The tables, or the sources that are believed, changed."""
        self._wake.set()

    async def watch(self) -> None:
        """Look everybody up anew after each change, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.renew()
            except Exception as error:  # noqa: BLE001 whatever ails the store, the server goes on
                self._log.warning("whereabouts_wait", error=str(error)[:300])

    async def renew(self) -> None:
        """Look up every probe whose address is known; who is away keeps what was seen last."""
        for probe_id in sorted(self._owed):
            probe = self._registry.probe(probe_id)
            assert probe is not None, "the registry forgets nobody"
            await self._moved(probe)
            self._owed.discard(probe_id)
        for probe in self._registry.probes():
            seen = self._presence.seen.get(probe.probe_id)
            if seen is not None and seen.address is not None:
                await self.note(probe, seen.address)

    def follow(self, sources: Sources) -> None:
        """Believe these sources from now on; what that changes is written down by `watch`."""
        self._owed |= {probe.probe_id for probe in self._registry.follow(sources)}
        self.look_again()

    def _say(self, before: Probe, after: Probe, address: str | None) -> None:
        place = after.seen or Place()
        self._log.info(
            "probe_moved" if before.seen else "probe_seen",
            probe_id=after.probe_id,
            vantage=after.name,
            address=address,
            asn=place.asn,
            country=place.country,
            holder=place.holder,
        )
        if after.disagreements and after.disagreements != before.disagreements:
            self._log.warning(
                "probe_not_where_declared",
                vantage=after.name,
                declared=f"AS{after.declared.asn} {after.declared.country}",
                seen=f"AS{place.asn} {place.country}",
                fix="see docs/operations.md, networks",
            )
