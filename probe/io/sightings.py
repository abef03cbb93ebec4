"""Remembers how the coordinator sees this probe: for its heartbeats, and on disk for `doctor`."""

from __future__ import annotations

from typing import Final

import structlog
import trio

from probe.core.sighting import Sighting, dump, load, sighting_of
from probe.exits import ProbeError
from probe.io.state import StateDirectory

FILE: Final = "sighting.json"


class Sightings:
    """Of the session that is up, or was last."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._newest: Sighting | None = None
        self._log = structlog.get_logger("sightings")

    @property
    def translated(self) -> bool | None:
        """Whether somebody on the way writes another address; None: not known."""
        return None if self._newest is None else self._newest.translated

    async def note(self, own: str | None, seen: str) -> None:
        """A session began. What cannot be written is told and forgotten: it is for people alone."""
        before, self._newest = self._newest, sighting_of(own, seen)
        if self._newest is None or self._newest == before:
            return
        if self._newest.translated:
            self._log.info("behind_nat", coordinator_sees=seen, host_has=own)
        try:
            await trio.to_thread.run_sync(self._state.write, FILE, dump(self._newest))
        except ProbeError as error:
            self._log.warning("sighting_not_kept", cause=str(error))


def kept_sighting(state: StateDirectory) -> Sighting | None:
    """What the probe of this directory learnt last. Raises ProbeError."""
    content = state.read(FILE)
    return None if content is None else load(content)
