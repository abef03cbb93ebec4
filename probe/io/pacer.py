"""Acts that are due at an instant, done by one task for all of them.

A sleep that ends is an exception which unwinds its task: some 50 us of CPU, twice what the packet
costs that it was for. So nobody sleeps but one task, until the next instant of a heap.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Final

import trio

_BATCH: Final = 64
"""Acts before other tasks get their turn: replies must not wait behind sends."""

REST_S: Final = 0.001
"""Between two looks: what falls due in this time is done together."""


class Appointment:
    """An act to come. Once it is called off nobody wakes for it, and what it holds is let go."""

    __slots__ = ("_act",)

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    @property
    def is_off(self) -> bool:
        """Whether it was called off."""
        return self._act is None

    def call_off(self) -> None:
        """Do not do it after all."""
        self._act = None

    def keep(self) -> None:
        """Do it, if it still stands."""
        if self._act is not None:
            self._act()


class Pacer:
    """Acts and when they are due, on trio's clock. Either `run` runs or somebody calls `act`.

    Args:
        on_earlier: told of an instant that comes before all others.
    """

    def __init__(self, on_earlier: Callable[[float], None] | None = None) -> None:
        self._due: list[tuple[float, int, Appointment]] = []
        self._numbers = count()  # those of one instant are done in the order they were asked for
        self._wake = trio.Event()
        self._on_earlier = on_earlier or (lambda _when: self._wake.set())

    def at(self, when: float, act: Callable[[], None]) -> Appointment:
        """Have `act` done at this instant or as soon after it as the loop can."""
        appointment = Appointment(act)
        heapq.heappush(self._due, (when, next(self._numbers), appointment))
        if self._due[0][0] == when:
            self._on_earlier(when)
        return appointment

    async def run(self) -> None:
        """Do what falls due, for ever."""
        rested_at = -math.inf
        while True:
            self._wake = trio.Event()
            with trio.CancelScope(deadline=max(self.next_at(), rested_at)):
                await self._wake.wait()
            while self.act():
                await trio.lowlevel.checkpoint()
            rested_at = trio.current_time() + REST_S

    def next_at(self) -> float:
        """When the next act is due."""
        while self._due and self._due[0][2].is_off:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else math.inf

    def act(self) -> bool:
        """Do a batch of what is due; True when there may be more."""
        now = trio.current_time()
        for _ in range(_BATCH):
            if self.next_at() > now:
                return False
            heapq.heappop(self._due)[2].keep()
        return True
