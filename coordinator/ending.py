"""How a coordinator process ends: gracefully and within a bound, or at once when it is told twice.

The end waits for disks and for probes, and either may take for ever. What was acknowledged is durable
at every instant, and probes keep the rest, so leaving at once loses nothing but time: the store's log is
read at the next start.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Final

import structlog

from coordinator.exits import Exit

STOP_S_MAX: Final = 45.0
"""From the first signal to the end of the process; systemd's patience (TimeoutStopSec) is longer."""

SIGNALLED: Final = 128
"""Added to the number of the signal, as shells do, when a second one ended the process."""


class Ending:
    """Told of every signal to stop, on the event loop. `leave` ends the process there and then."""

    def __init__(
        self, *, bound_s: float = STOP_S_MAX, leave: Callable[[int], object] = os._exit
    ) -> None:
        self._bound_s = bound_s
        self._leave = leave
        self._asked = asyncio.Event()
        self._log = structlog.get_logger("coordinator")

    async def wait(self) -> None:
        """Wait for the first signal."""
        await self._asked.wait()

    def ask(self, number: int) -> None:
        """A signal came: end gracefully; the second one ends at once."""
        if self._asked.is_set():
            self._log.warning("stopped_at_once", signal=number)
            self._leave(SIGNALLED + number)
        self._asked.set()
        bound = threading.Timer(self._bound_s, self._overran)
        bound.daemon = True
        bound.start()

    def _overran(self) -> None:
        self._log.error("stop_overran", bound_s=self._bound_s)
        self._leave(Exit.DATA_UNUSABLE)
