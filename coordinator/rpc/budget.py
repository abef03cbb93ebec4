"""A byte budget for reports that wait for their commit.

Without it a stalled store turns the whole fleet's backlog into the coordinator's memory. A stream
that finds no budget waits a little, then is told to come back later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

WAIT_S_MAX: Final = 5.0
"""How long a stream waits for budget before it is sent away."""


class BudgetSpentError(Exception):
    """No budget came free in time."""


class Budget:
    """Bytes that may wait at once. A report larger than what is left is let in when any is left."""

    def __init__(self, total_bytes: int) -> None:
        self._left = total_bytes
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def left_bytes(self) -> int:
        """What is free; below zero when the last report let in was larger."""
        return self._left

    async def take(self, size_bytes: int, *, wait_s: float = WAIT_S_MAX) -> None:
        """Take bytes, in order of asking. Raises BudgetSpentError when none came free in time."""
        if self._left <= 0 or self._waiters:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                async with asyncio.timeout(wait_s):
                    await waiter
            except TimeoutError as error:
                raise BudgetSpentError from error
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        self._left -= size_bytes
        self._wake()

    def give_back(self, size_bytes: int) -> None:
        """Bytes are committed, rejected or handed back."""
        self._left += size_bytes
        self._wake()

    def _wake(self) -> None:
        """Let the next one in; it wakes its successor when something is still left."""
        while self._left > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
