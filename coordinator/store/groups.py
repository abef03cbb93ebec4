"""What waits for the writer, and how it is gathered into groups that share one commit.

A commit costs a disk flush whatever it carries, so what arrives within `GROUP_WINDOW_S` shares one.
A group is bounded in rows as well: it is decoded at once, at some kilobyte a row, and a fleet that
had to wait would otherwise turn its backlog into the coordinator's memory. The end of a session
closes no group: after a broken network thousands end at once, and each would cost a commit.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb

from coordinator.store.commit import Arrival
from coordinator.store.rows import Row

GROUP_WINDOW_S: Final = 0.1
"""Nearly all of the gain of grouping; longer windows only delay acknowledgements."""

GROUP_REPORTS_MAX: Final = 2000
"""Reports in one transaction."""

GROUP_ROWS_MAX: Final = 20_000
"""Results in one transaction. A row costs no less in larger groups, and up to a kilobyte meanwhile."""

GROUP_BYTES_MAX: Final = 16 << 20
"""Bodies in one transaction: those of ordinary rows have 20 bytes each, those of traces more."""


@dataclass(frozen=True, slots=True)
class Call:
    """Something to run between groups, and who waits for it."""

    fn: Callable[[duckdb.DuckDBPyConnection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """No report of this session follows."""

    session: int


class Stop:
    """Nothing follows."""


Item = Arrival | Row | SessionEnd | Call | Stop


@dataclass(slots=True)
class Group:
    """What shares one commit."""

    arrivals: list[Arrival] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)  # sessions
    result_rows: int = 0
    body_bytes: int = 0

    def add(self, item: Arrival | Row | SessionEnd) -> None:
        """Take one in."""
        if isinstance(item, Arrival):
            self.arrivals.append(item)
            self.result_rows += item.rows
            self.body_bytes += len(item.body)
        elif isinstance(item, SessionEnd):
            self.ended.append(item.session)
        else:
            self.rows.append(item)

    @property
    def full(self) -> bool:
        """Has it reached a limit?"""
        return (
            len(self.arrivals) >= GROUP_REPORTS_MAX
            or self.result_rows >= GROUP_ROWS_MAX
            or self.body_bytes >= GROUP_BYTES_MAX
        )


class Inbox:
    """The queue between the event loop and the writer thread. `monotonic` times the window."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._monotonic = monotonic
        self._in_hand: list[Item] = []  # taken from the queue, not yet answered

    def put(self, item: Item) -> None:
        """Hand over; any thread."""
        self._queue.put(item)

    def collect(self, *, wait_s: float | None) -> tuple[Group, Call | Stop | None]:
        """Take what arrives within the window, and the call or the stop that closed it early.

        Waits `wait_s` (None = for ever) for the first; nothing came = an empty group.
        """
        group = Group()
        with suppress(queue.Empty):
            item = self._take(wait_s)
            end = self._monotonic() + GROUP_WINDOW_S
            while not isinstance(item, Call | Stop):
                group.add(item)
                left = end - self._monotonic()
                if left <= 0 or group.full:
                    return group, None
                item = self._take(left)
            return group, item
        return group, None

    def answered(self) -> None:
        """What was collected is settled."""
        self._in_hand.clear()

    def unanswered(self) -> Iterator[Item]:
        """What was collected and not settled, for a writer that ends, then what `left_over` gives."""
        yield from self._in_hand
        yield from self.left_over()

    def left_over(self) -> Iterator[Item]:
        """Takes out what nobody collected; any thread."""
        with suppress(queue.Empty):
            while True:
                yield self._queue.get_nowait()

    def _take(self, timeout_s: float | None) -> Item:
        item = self._queue.get(timeout=timeout_s)
        self._in_hand.append(item)
        return item
