"""The one writer of the store: a thread that commits in groups, and the door to it from asyncio.

Nobody waits for a commit: a probe's spool keeps a report until its acknowledgement, and the
acknowledgement leaves only after COMMIT returned. Everything else that writes (rows beside
results, cells, verdicts, plans) goes through the same thread, between or within groups, because
the store takes one writer at a time and a conflict would cost a group of reports.

When the store is in trouble (disk full, a fatal error) nothing is acknowledged: reports are handed
back as deferred, the connection is opened anew, and the next group tries again. Should the thread
end all the same, `is_alive` says so and whoever waits for it, or comes later, is told at once. A
disk that stands still fails nothing; `trouble` tells of it once a commit has taken too long.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import duckdb
import structlog

from coordinator.core.intake import allowed_checks
from coordinator.core.pulse import Work, stall_of
from coordinator.store.commit import (
    DATA_ERRORS,
    Arrival,
    Decided,
    Fate,
    Faults,
    commit_group,
    read_known,
    roll_back,
)
from coordinator.store.groups import Call, Group, Inbox, Item, SessionEnd, Stop
from coordinator.store.open import Opened, open_store
from coordinator.store.readers import StoreUnavailableError
from coordinator.store.rows import Row

T = TypeVar("T")

TROUBLE_LOOK_S: Final = 1.0
"""How often a store in trouble is tried when no report arrives: probes are being sent away."""

TRIM_EVERY_S: Final = 2.0
"""Full load brings three megabytes of new blocks a second; done each second, it took some 6 % of a backlog's
processor, and with five the peak was 50 MB higher."""

PENDING_ROWS_MAX: Final = 50_000
"""Rows beside results that wait while the store is in trouble; then the oldest are dropped."""


@dataclass(slots=True)
class Counts:
    """What happened to reports since the start. `refused` and `accepted` are counted on the event
    loop, the rest by the writer; `rejected` are those that the store's checks refused.
    """

    refused: int = 0
    accepted: int = 0
    committed: int = 0
    duplicate: int = 0
    rejected: int = 0
    deferred: int = 0
    rows: int = 0
    commits: int = 0
    dropped_rows: int = 0


class Store:
    """The results store of a running coordinator.

    `free_bytes` tells the space left on its disk; below `free_mark_bytes` (set at any time) nothing is taken.
    `monotonic` is the clock of the group window.
    """

    def __init__(
        self,
        path: Path,
        *,
        free_bytes: Callable[[], int],
        faults: Faults = Faults(),  # noqa: B008  # frozen and empty
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._free_bytes = free_bytes
        self._faults = faults
        self._monotonic = monotonic
        self._inbox = Inbox(monotonic=monotonic)
        self._log = structlog.get_logger("store")
        self._opened: Opened = open_store(path)
        self._known = read_known(self._opened.writer)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._ended = threading.Event()  # the thread takes nothing more
        self._work: Work | None = None  # what the thread does at the moment
        self._trim_at_s = 0.0
        self._stalled = False  # as it was last logged
        self._leftover: list[Row] = []
        self._broken: set[int] = set()  # sessions of which a report was deferred
        self.counts = Counts()
        self.free_mark_bytes = 0
        self.failure: str | None = None  # why the last group was not taken

    # --- from the event loop ------------------------------------------------------------------

    def start(self) -> None:
        """Start the writer thread; replies are delivered on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Commit what was submitted, deliver the replies, end the readers, close the file."""
        self._inbox.put(Stop())
        await asyncio.to_thread(self._thread.join)
        try:
            await asyncio.to_thread(self._opened.close)
        except duckdb.Error as error:  # everything is committed: no reason to end with a failure
            self._log.warning("store_left_open", error=str(error))

    @property
    def trouble(self) -> str | None:
        """Why nothing is taken at the moment; None = all is well. Any thread may ask."""
        return self.failure or stall_of(self._work, now_s=self._monotonic())

    def look_for_stall(self) -> None:
        """Log once that the store stands still, and once that it goes on: its thread cannot."""
        stall = stall_of(self._work, now_s=self._monotonic())
        if stall is not None and not self._stalled:
            self._log.error("store_stands_still", error=stall)
        elif stall is None and self._stalled:
            self._log.info("store_goes_on")
        self._stalled = stall is not None

    def is_alive(self) -> bool:
        """Does the writer thread run? Trouble with the disk is not its death."""
        return self._thread.is_alive() and not self._ended.is_set()

    def submit(self, arrival: Arrival) -> None:
        """Hand over a report; its `reply` will be called on the loop."""
        self.counts.accepted += 1
        self._put(arrival)

    def end_session(self, session: int) -> None:
        """No report of this session will follow."""
        self._inbox.put(SessionEnd(session))

    def record(self, row: Row) -> None:
        """Write a row beside results with the next group; lost only if the store stays down."""
        self._inbox.put(row)

    async def run_in_store(self, fn: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run `fn` on the writer's connection in a transaction of its own, between groups.

        What `fn` raises rolls the transaction back and is raised here. Keep it short: ingest waits
        meanwhile. Results must be fetched inside.

        Raises:
            StoreUnavailableError: the store is in trouble; nothing happened.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._put(Call(fn, loop, future))
        result: T = await future
        return result

    def cursor(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Lends a connection for reading, for one thread at a time.

        What runs on it ends with a duckdb.Error when the store is closed or opened anew, and a new
        one is refused meanwhile with StoreUnavailableError.
        """
        return self._opened.readers.lend()

    def marks_of(self, probe_id: str) -> dict[int, int]:
        """Highest committed seq of each epoch of one probe, oldest epoch first."""
        marks = self._known.marks.copy()
        return {epoch: seq for (owner, epoch), seq in marks.items() if owner == probe_id}

    def knows_epoch(self, probe_id: str, epoch: int) -> bool:
        """Was a report of this epoch ever committed?"""
        return (probe_id, epoch) in self._known.marks

    def allow(
        self, probe_id: str, check_nos: frozenset[int], *, traces: frozenset[int] = frozenset()
    ) -> None:
        """From now on this probe may report these checks, besides those it was ever asked for.

        `traces` are those of them whose rows may have hops.
        """
        before = self._known.allowed.get(probe_id)
        known = frozenset() if before is None else frozenset(before.nonzero()[0].tolist())
        if not check_nos <= known:
            self._known.allowed[probe_id] = allowed_checks(sorted(known | check_nos))
        known = frozenset(self._known.traces.nonzero()[0].tolist())
        if not traces <= known:
            self._known.traces = allowed_checks(sorted(known | traces))

    def _put(self, item: Arrival | Call) -> None:
        """Hand over; whoever sees that the thread has ended answers what it left."""
        self._inbox.put(item)
        if self._ended.is_set():
            self._send_away(self._inbox.left_over())

    # --- in the writer thread -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001  # only a fault of this module's own comes so far
            self.failure = f"the writer ended: {error!r}"[:300]
            self._log.critical("writer_ended", error=repr(error), exc_info=error)
        finally:
            self._work = None
            self._ended.set()
            self._send_away(self._inbox.unanswered())

    def _send_away(self, items: Iterable[Item]) -> None:
        """Nobody may wait for a thread that has ended."""
        for item in items:
            if isinstance(item, Call):
                error = StoreUnavailableError("the store takes nothing more")
                self._post(_fail, item.future, error)
            elif isinstance(item, Arrival):
                self._post(_deliver, [Decided(item, Fate.DEFERRED, "storage")])

    def _serve(self) -> None:
        after: Call | Stop | None = None
        while not isinstance(after, Stop):
            wait_s = None if self.failure is None else TROUBLE_LOOK_S
            group, after = self._inbox.collect(wait_s=wait_s)
            if group.arrivals or group.rows or self.failure is not None:
                self._begin("a commit")
                self._commit(group)
            self._broken.difference_update(group.ended)
            if isinstance(after, Call):
                self._begin("work of the coordinator's own in the store")
                self._call(after)
            self._work = None
            self._inbox.answered()
            self._trim()

    def _trim(self) -> None:
        """Give back what DuckDB caches beyond need, now and then."""
        if self.failure is None and self._monotonic() >= self._trim_at_s:
            self._opened.trim()
            self._trim_at_s = self._monotonic() + TRIM_EVERY_S

    def _begin(self, what: str) -> None:
        self._work = Work(what, self._monotonic())

    def _commit(self, group: Group) -> None:
        rows = self._leftover + group.rows
        self._leftover = []
        broken = [a for a in group.arrivals if a.session in self._broken]
        group.arrivals = [a for a in group.arrivals if a.session not in self._broken]
        try:
            self._check_space()
            decided = commit_group(
                self._opened.writer,
                group.arrivals,
                rows,
                known=self._known,
                faults=self._faults,
            )
        except Exception as error:  # noqa: BLE001  # nothing may end the one writer there is
            self._keep(rows)
            broken += group.arrivals
            decided = []
            self._in_trouble(error)
        else:
            self._out_of_trouble()
        self._broken.update(arrival.session for arrival in broken)
        decided += [Decided(arrival, Fate.DEFERRED, "storage") for arrival in broken]
        self._count(decided)
        self._post(_deliver, decided)

    def _check_space(self) -> None:
        free = self._free_bytes()
        if free < self.free_mark_bytes:
            raise StoreUnavailableError(
                f"{free >> 20} MiB free beside {self._path}, less than the mark of "
                f"{self.free_mark_bytes >> 20} MiB; make room, probes keep their reports meanwhile"
            )

    def _keep(self, rows: list[Row]) -> None:
        self.counts.dropped_rows += max(0, len(rows) - PENDING_ROWS_MAX)
        self._leftover = rows[-PENDING_ROWS_MAX:]

    def _count(self, decided: list[Decided]) -> None:
        for one in decided:
            self.counts.committed += one.fate is Fate.COMMITTED
            self.counts.duplicate += one.fate is Fate.DUPLICATE
            self.counts.rejected += one.fate is Fate.REJECTED
            self.counts.deferred += one.fate is Fate.DEFERRED
            self.counts.rows += one.arrival.rows if one.fate is Fate.COMMITTED else 0
        self.counts.commits += 1

    def _call(self, call: Call) -> None:
        con = self._opened.writer
        try:
            con.execute("BEGIN TRANSACTION")
            result = call.fn(con)
            con.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001  # belongs to the caller, who gets it
            with suppress(duckdb.Error):
                con.execute("ROLLBACK")
            if isinstance(error, duckdb.Error) and not isinstance(error, DATA_ERRORS):
                self._in_trouble(error)
                error = StoreUnavailableError(str(error))
            self._post(_fail, call.future, error)
        else:
            self._post(_fulfil, call.future, result)

    def _in_trouble(self, error: Exception) -> None:
        """Nothing was acknowledged. A fatal error leaves the open file dead: open it anew."""
        if self.failure is None:
            self._log.error("store_in_trouble", error=str(error)[:300])
        self.failure = next(iter(str(error).splitlines()), repr(error))[:300]
        if isinstance(error, StoreUnavailableError):
            return
        roll_back(self._opened.writer)
        try:
            self._opened.writer.execute("SELECT 1").fetchall()
        except duckdb.Error:
            self._open_anew()

    def _open_anew(self) -> None:
        with suppress(duckdb.Error):
            self._opened.close()
        try:
            self._opened = open_store(self._path)
            self._known = read_known(self._opened.writer, keep=self._known)
        except Exception as again:  # noqa: BLE001  # the next look tries again, whatever it was
            self._log.error("store_not_reopened", error=str(again)[:300])

    def _out_of_trouble(self) -> None:
        if self.failure is not None:
            self._log.info("store_recovered")
            self.failure = None

    def _post(self, fn: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is gone: nobody waits for the reply any more
            self._loop.call_soon_threadsafe(fn, *args)


def _deliver(decided: list[Decided]) -> None:
    for one in decided:
        one.arrival.reply(one.fate, one.reason)


def _fulfil(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
