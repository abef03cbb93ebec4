"""From rows to reports on disk, and from there to the link: the trio side of the spool.

Rows are gathered in memory until there are `flush_rows` of them or the oldest is `flush_s` old, then
encoded, compressed and synced in a worker thread. Measuring never waits for any of it.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import structlog
import trio

from probe.core.limits import FLUSH_MIN_S
from probe.io.disk import Spool, Stored
from proto.codec import HOPS_MAX, ROWS_MAX, report_to_wire
from proto.gen import fleet_pb2
from proto.model import Certificate, Plan, Report, Result, Trigger

PENDING_MAX: Final = 20_000
"""Rows that may wait for a stalled disk (some 10 MB); beyond that the oldest go, and are counted."""

ROWS_MIN: Final = 10
"""Fewer rows are no reason to write before their time: each report is a write to our host's disk."""

CERTIFICATES_MAX: Final = 4096
"""Fingerprints remembered as sent: beyond that some are sent again, which is harmless."""

REPORT_BYTES_MAX: Final = 512 << 10
"""Of a report before it is compressed: some 5,000 rows. The coordinator takes no more than twice that
in an envelope, and what it does not take is lost with all that is in it: the certificates that one
server makes up would cost the rows of all others."""

T = TypeVar("T")


class Outbox:
    """Rows in, stored reports out."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._turn = trio.Lock()  # one thread at a time touches the spool
        self._limiter = trio.CapacityLimiter(
            1
        )  # ours alone: with the turn there is no more waiting
        self._pending: deque[Result] = deque()
        self._certificates: dict[str, Certificate] = {}
        self._sent_certificates: set[str] = set()
        self._flush_s = Plan(version=0, checks=()).flush_s
        self._flush_rows = Plan(version=0, checks=()).flush_rows
        self._first = trio.Event()
        self._full = trio.Event()
        self._dropped_rows = 0
        self.changed = trio.Event()  # replaced whenever a report was stored
        self._log = structlog.get_logger("outbox")

    @property
    def epoch(self) -> int:
        """New at every start."""
        return self._spool.epoch

    @property
    def next_seq(self) -> int:
        """Of the next report stored."""
        return self._spool.next_seq

    @property
    def size_bytes(self) -> int:
        """Bytes spooled."""
        return self._spool.size_bytes

    @property
    def rows(self) -> int:
        """Rows spooled or waiting to be."""
        return self._spool.rows + len(self._pending)

    @property
    def evicted_rows(self) -> int:
        """Rows lost for want of room, ever."""
        return self._spool.evicted_rows + self._dropped_rows

    def pace(self, *, flush_s: float, flush_rows: int) -> None:
        """How long and how many rows to gather."""
        self._flush_s = flush_s
        self._flush_rows = max(ROWS_MIN, min(flush_rows, ROWS_MAX))

    def add(self, row: Result, certificates: Sequence[Certificate] = ()) -> None:
        """Take one row. Never blocks, never refuses."""
        if len(self._pending) >= PENDING_MAX:
            self._pending.popleft()
            self._dropped_rows += 1
        self._pending.append(row)
        for certificate in certificates:
            if certificate.sha256 not in self._sent_certificates:
                self._certificates[certificate.sha256] = certificate
        self._first.set()
        # Whoever asked for a run waits for its row.
        if len(self._pending) >= self._flush_rows or row.trigger is Trigger.REQUEST:
            self._full.set()

    def send_certificates_again(self) -> None:
        """At a new session: the report that carried one may have been evicted."""
        self._sent_certificates.clear()

    async def run(self) -> None:
        """Store reports until cancelled."""
        while True:
            await self._first.wait()
            with trio.move_on_after(self._flush_s):
                await self._full.wait()
            await self.flush()
            # However many runs are asked for, whose rows do not wait.
            await trio.sleep(FLUSH_MIN_S)

    async def flush(self) -> None:
        """Store what waits now."""
        self._first, self._full = trio.Event(), trio.Event()
        while self._pending:
            async with self._turn:
                # Rows are taken only with the turn in hand: a cancel while waiting leaves them
                # where the last flush finds them, and from here on nothing can come in between.
                if self._pending:
                    await self._store(self._take())

    async def read(self, *, after: tuple[int, int], limit: int) -> list[Stored]:
        """Stored reports beyond (epoch, seq), oldest first."""
        return await self._in_thread(lambda: self._spool.read(after=after, limit=limit))

    async def ack(self, covered: dict[int, int]) -> None:
        """The coordinator holds these for good: seq by epoch.

        It may name a million epochs. Those that nothing here is of are no news.
        """

        def forget() -> None:
            for epoch in self._spool.epochs() & covered.keys():
                self._spool.ack(epoch=epoch, seq=covered[epoch])

        await self._in_thread(forget)

    async def close(self) -> None:
        """After the last flush."""
        await self._in_thread(self._spool.close)

    def _take(self) -> Report:
        size = min(len(self._pending), self._flush_rows)
        rows = tuple(self._pending.popleft() for _ in range(size))
        certificates = tuple(self._certificates.values())
        self._certificates.clear()
        if len(self._sent_certificates) > CERTIFICATES_MAX:
            self._sent_certificates.clear()
        self._sent_certificates.update(one.sha256 for one in certificates)
        return Report(rows, certificates)

    async def _store(self, report: Report) -> None:
        evicted, fault = self._spool.evicted_rows, self._spool.fault
        # A started write cannot be taken back, so the shield lasts no longer than the disk does.
        with trio.CancelScope(shield=True):
            seq, size = await self._run(lambda: _put(self._spool, report))
        changed, self.changed = self.changed, trio.Event()
        changed.set()
        rows, epoch = len(report.results), self._spool.epoch
        self._log.info("report_stored", epoch=epoch, seq=seq, rows=rows, bytes=size)
        if self._spool.fault is not None and self._spool.fault != fault:
            self._log.error(
                "spool_disk_fault",
                cause=self._spool.fault,
                fix="free space on the disk of the state directory, or see to what else the cause "
                "names; until then new rows are held in memory, and on a full disk the oldest go",
            )
        if self._spool.evicted_rows > evicted:
            self._log.warning("rows_evicted", rows=self._spool.evicted_rows - evicted)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._turn:
            return await self._run(work)

    async def _run(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._limiter)


def _put(spool: Spool, report: Report) -> tuple[int, int]:
    """Store a report; the seq of its last piece, and the bytes of all."""
    seq = size = 0
    for piece, raw in _pieces(report):
        body = zlib.compress(raw)
        size += len(body)
        seq = spool.put(
            body=body,
            rows=len(piece.results),
            raw_bytes=len(raw),
            codec=fleet_pb2.Batch.CODEC_ZLIB,
            first_at_us=piece.results[0].slot_at_us,
        )
    return seq, size


def _pieces(report: Report) -> Iterator[tuple[Report, bytes]]:
    """A report as it is made, or halved until each piece is one that any coordinator takes."""
    rows, certificates = report.results, report.certificates
    if len(rows) == 1 or sum(len(row.hops) for row in rows) <= HOPS_MAX:
        raw = report_to_wire(report)
        if len(rows) == 1 or len(raw) <= REPORT_BYTES_MAX:
            yield report, raw
            return
    middle, half = len(rows) // 2, len(certificates) // 2
    yield from _pieces(Report(rows[:middle], certificates[:half]))
    yield from _pieces(Report(rows[middle:], certificates[half:]))
