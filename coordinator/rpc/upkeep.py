"""The operator's calls that look after the coordinator itself: its files and its configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from coordinator.configs import Configs
from coordinator.store import serving
from coordinator.store.holding import hold_still, let_go
from coordinator.store.registry import Registry
from coordinator.store.writer import Store
from proto.gen import admin_pb2
from proto.model import SoundingsError

HOLD_S_MAX: Final = 3600.0
"""The log grows meanwhile: whoever copies for longer needs a faster disk, or stops the coordinator."""

LET_GO_EVERY_S: Final = 1.0
"""Between two tries to let go of a store in trouble."""


class HeldError(SoundingsError):
    """Somebody else has the files held."""


class Upkeep:
    """Holds files still, and reads the configuration when asked."""

    def __init__(
        self, store: Store, registry: Registry, configs: Configs, *, wall: Callable[[], int]
    ) -> None:
        self._store = store
        self._registry = registry
        self._configs = configs
        self._wall = wall
        self._held = False
        self._letting_go: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("upkeep")

    # --- configuration ------------------------------------------------------------------------

    async def reload(self, by: str) -> admin_pb2.ReloadResponse:
        """Read the file now. Raises StoreUnavailableError when it cannot be taken: nothing changed."""
        accepted = await self._configs.reload(by=by)
        return admin_pb2.ReloadResponse(
            accepted=accepted,
            version=self._configs.version,
            findings=() if accepted else self._configs.findings,
        )

    async def list_configs(self, version: int | None) -> admin_pb2.ListConfigsResponse:
        """Every configuration that was read, or the text of one."""

        def read() -> list[serving.Record]:
            with self._store.cursor() as cursor:
                return serving.configs(cursor, version=version)

        rows = [admin_pb2.ConfigRow(**row) for row in await asyncio.to_thread(read)]
        return admin_pb2.ListConfigsResponse(configs=rows, file=str(self._configs.path))

    # --- files --------------------------------------------------------------------------------

    async def hold(self) -> AsyncIterator[admin_pb2.HoldResponse]:
        """Says since when the files stay as they are; they do until the caller ends the iteration.

        Raises:
            HeldError: another call holds them.
            StoreUnavailableError: the store is in trouble.
        """
        async with self._holding() as held_at_us:
            yield admin_pb2.HoldResponse(held_at_us=held_at_us)
            await asyncio.sleep(HOLD_S_MAX)

    @asynccontextmanager
    async def _holding(self) -> AsyncIterator[int]:
        if self._held:
            raise HeldError("a backup is being made already; wait for it, or stop that command")
        self._held = True
        held_at_us = self._wall()
        try:
            await self._store.run_in_store(hold_still)
            # After the store: a probe of the store is one of the registry then.
            await asyncio.to_thread(self._registry.settle)
            self._log.info("files_held")
            yield held_at_us
        finally:
            # Whoever asked is gone, perhaps by being cancelled: this must not be.
            self._letting_go = asyncio.get_running_loop().create_task(self._let_go())

    async def _let_go(self) -> None:
        """Until the store takes it; one that was opened anew has let go by itself."""
        while self._store.is_alive():
            try:
                await self._store.run_in_store(let_go)
                break
            except Exception:  # noqa: BLE001  # whatever ails the store, its log must not grow for ever
                await asyncio.sleep(LET_GO_EVERY_S)
        self._held = False
        self._log.info("files_let_go")
