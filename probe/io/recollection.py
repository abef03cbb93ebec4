"""Keeps the remembered addresses over restarts, in a file of the state directory.

Losing the file costs a control for a day and nothing else, so it is written rarely, and damage to it
is told and forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
import trio

from probe.core.memory import AddressMemory
from probe.exits import ProbeError
from probe.io.state import StateDirectory

FILE: Final = "addresses.json"

SAVE_EVERY_S: Final = 600.0
"""What a crash may cost of a day's memory; some hundred kilobytes each time at most."""


class Recollection:
    """The memory of this probe, and its file."""

    def __init__(self, state: StateDirectory, *, wall: Callable[[], int]) -> None:
        self._state = state
        self._wall = wall
        self._log = structlog.get_logger("memory")
        self._saved = b""
        self.memory = self._restore()

    def _restore(self) -> AddressMemory:
        try:
            content = self._state.read(FILE)
            return AddressMemory() if content is None else AddressMemory.load(content)
        except (ValueError, ProbeError) as error:
            self._log.error("addresses_forgotten", file=FILE, cause=str(error), fix="none needed")
            return AddressMemory()

    async def run(self) -> None:
        """Save now and then until cancelled."""
        while True:
            await trio.sleep(SAVE_EVERY_S)
            await self.save()

    async def save(self) -> None:
        """Write what is remembered now, if that is anything new; a full disk is told, no more."""
        content = self.memory.dump(now_us=self._wall())
        if content == self._saved:
            return
        try:
            await trio.to_thread.run_sync(self._state.write, FILE, content)
            self._saved = content
        except ProbeError as error:
            self._log.error("addresses_not_saved", cause=str(error))  # no trace needed
