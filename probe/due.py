"""A run on its way through the engine."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from probe.core.schedule import Slot
from probe.core.triggers import Run
from proto.model import Trigger


@dataclass(frozen=True, slots=True)
class Due:
    """A slot or triggered run on its way, and how many clock steps were seen before it fell due."""

    slot: Slot
    steps: int
    run: Run | None = None  # None: scheduled
    scope: trio.CancelScope | None = None  # of a triggered run, which may have to give way

    @property
    def trigger(self) -> Trigger:
        """What made it."""
        return Trigger.SCHEDULE if self.run is None else self.run.trigger
