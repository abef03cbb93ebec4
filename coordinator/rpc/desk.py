"""What every session of the fleet door works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from coordinator.core.registry import Probe
from coordinator.presence import Presence
from coordinator.rpc.budget import Budget
from coordinator.rpc.guard import Guard
from coordinator.rpc.plans import Plans
from coordinator.store.writer import Store

RETRY_AFTER_MS: Final = (2_000, 10_000)
"""A probe that is sent away comes back within these, spread over the fleet."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What every session works with. `spread` gives a number from [0, 1)."""

    store: Store
    plans: Plans
    presence: Presence
    budget: Budget
    guard: Guard
    wall: Callable[[], int]
    spread: Callable[[], float]
    locate: Callable[[Probe, str | None], Awaitable[Probe]]  # told where a probe comes from

    def retry_after_ms(self) -> int:
        """Some time within RETRY_AFTER_MS."""
        low, high = RETRY_AFTER_MS
        return low + int(self.spread() * (high - low))
