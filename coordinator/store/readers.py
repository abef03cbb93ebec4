"""The cursors that are out with readers, so that a file is not closed under a running query.

DuckDB refuses to close a connection while a cursor of it runs a query, and a query runs on in its
worker thread after whoever asked has gone. Closing therefore takes three steps: lend nothing more,
interrupt what runs, wait until every borrower has handed its cursor back. A borrower asks several
questions in a row, so it is interrupted again and again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import duckdb

from proto.model import SoundingsError

INTERRUPT_EVERY_S: Final = 0.05
"""Between two interruptions: a borrower's next question has begun by then."""

WAIT_S_MAX: Final = 10.0
"""Far more than computing between two questions takes; then the file is left to the process's end,
which loses nothing, because what was committed is in its log."""


class StoreUnavailableError(SoundingsError):
    """The store cannot be used at the moment; what was asked did not happen."""


class Readers:
    """Lends cursors of one open connection, for one thread at a time each."""

    def __init__(self, root: duckdb.DuckDBPyConnection) -> None:
        self._root = root
        self._changed = threading.Condition()
        self._out: set[duckdb.DuckDBPyConnection] = set()
        self._closed = False

    @contextmanager
    def lend(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for as long as the context lasts. Raises StoreUnavailableError after `end`."""
        cursor = self._borrow()
        try:
            cursor.execute("SET enable_progress_bar = false")
            yield cursor
        finally:
            with self._changed:
                cursor.close()
                self._out.discard(cursor)
                self._changed.notify_all()

    def _borrow(self) -> duckdb.DuckDBPyConnection:
        with self._changed:
            if self._closed:
                raise StoreUnavailableError("the store is being closed or opened anew")
            cursor = self._root.cursor()
            self._out.add(cursor)
            return cursor

    def run_alone(self, fn: Callable[[], None]) -> bool:
        """Run `fn` while nothing is lent, and lend nothing meanwhile; False when something is out."""
        with self._changed:
            if self._out:
                return False
            fn()
            return True

    def end(self, *, wait_s: float = WAIT_S_MAX) -> bool:
        """Lend nothing more, interrupt every question; True when all cursors came back in time."""
        with self._changed:
            self._closed = True
            for _ in range(round(wait_s / INTERRUPT_EVERY_S)):
                for cursor in self._out:
                    cursor.interrupt()
                if self._changed.wait_for(lambda: not self._out, INTERRUPT_EVERY_S):
                    return True
            return not self._out
