"""What the page may know of a running coordinator, and how it asks the store.

Questions run in worker threads, each with a cursor of its own that is closed after use; only
`READERS_MAX` at once, because a page must never take the machine away from ingest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from coordinator.progress import Progress

T = TypeVar("T")

READERS_MAX: Final = 2  # one for a slow question, one for everybody else


class Counts(Protocol):
    """What the store's writer did since it started."""

    @property
    def accepted(self) -> int: ...
    @property
    def committed(self) -> int: ...
    @property
    def duplicate(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def deferred(self) -> int: ...
    @property
    def rows(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Everything that the page reads. What may change while it runs is asked for each time."""

    wall: Callable[[], int]  # microseconds UTC
    cursor: Callable[[], AbstractContextManager[Any]]  # lends one for reading
    counts: Callable[[], Counts]
    trouble: Callable[[], str | None]  # why the store takes nothing; None = it does
    sessions: Callable[[], int]  # probes connected now
    refusals: Callable[[], Mapping[tuple[str, str], int]]  # by door and reason, since the start
    name: Callable[[], str]  # of this coordinator
    titles: Callable[[], Mapping[str, str]]  # service -> how people write it
    bin_s: Callable[[], int]
    config_version: Callable[[], int]
    config_findings: Callable[[], tuple[str, ...]]  # why the file as it is now is not in force
    progress: Progress
    readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READERS_MAX))

    async def ask(self, question: Callable[[Any], T]) -> T:
        """Answer one question on a cursor of its own, in a worker thread."""
        async with self.readers:
            return await asyncio.to_thread(self._ask, question)

    def _ask(self, question: Callable[[Any], T]) -> T:
        with self.cursor() as cursor:
            return question(cursor)
