from __future__ import annotations

import tracemalloc
import zlib
from threading import Event

import pytest
import trio
from trio.testing import MockClock

from probe.core.limits import FLUSH_MIN_S
from probe.io.disk import Spool, SpoolSettings
from probe.io.outbox import PENDING_MAX, REPORT_BYTES_MAX, ROWS_MIN, Outbox
from proto.codec import HOPS_MAX, fingerprint, report_from_wire
from proto.model import Certificate, Hop, Report, Trigger
from tests.fakes.disks import MemoryDisk
from tests.fakes.ledgers import START_US, a_row

CERTIFICATE = Certificate(
    sha256="2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", der=b"foo"
)


def an_outbox(disk: MemoryDisk | None = None) -> Outbox:
    """An outbox that flushes ten rows or after five seconds."""
    spool = Spool(disk or MemoryDisk(), settings=SpoolSettings(), now_us=START_US)
    outbox = Outbox(spool)
    outbox.pace(flush_s=5.0, flush_rows=10)
    return outbox


async def stored(outbox: Outbox) -> list[Report]:
    """Every report in the spool."""
    found = await outbox.read(after=(0, 0), limit=10**6)
    return [report_from_wire(zlib.decompress(one.record.body)) for one in found]


async def test_a_report_leaves_when_it_is_full_or_old(autojump_clock: MockClock) -> None:
    """Ten rows at once go at once; three rows go when the first is five seconds old."""
    outbox = an_outbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        changed = outbox.changed
        for number in range(10):
            outbox.add(a_row(START_US + number))
        begun_s = trio.current_time()
        await changed.wait()
        assert trio.current_time() - begun_s < 0.1
        changed = outbox.changed
        for number in range(3):
            outbox.add(a_row(START_US + number))
        await changed.wait()
        assert 4.9 < trio.current_time() - begun_s < 5.2
        nursery.cancel_scope.cancel()
    assert [len(report.results) for report in await stored(outbox)] == [10, 3]


async def test_a_flush_cuts_reports_to_size() -> None:
    """Rows that piled up behind a stalled disk go out in bounded pieces, in order."""
    outbox = an_outbox()
    for number in range(25):
        outbox.add(a_row(START_US + number))
    assert outbox.rows == 25
    await outbox.flush()
    reports = await stored(outbox)
    assert [len(report.results) for report in reports] == [10, 10, 5]
    slots = [row.slot_at_us - START_US for report in reports for row in report.results]
    assert slots == list(range(25))


async def test_a_certificate_goes_once_with_the_first_row() -> None:
    """Until a new session begins, when it goes again."""
    outbox = an_outbox()
    for _ in range(2):
        outbox.add(a_row(), (CERTIFICATE,))
        await outbox.flush()
    outbox.send_certificates_again()
    outbox.add(a_row(), (CERTIFICATE,))
    await outbox.flush()
    carried = [report.certificates for report in await stored(outbox)]
    assert carried == [(CERTIFICATE,), (), (CERTIFICATE,)]


async def test_rows_beyond_what_may_wait_are_counted() -> None:
    """A disk that hangs for an hour costs the oldest rows, never the probe's memory."""
    outbox = an_outbox()
    for number in range(PENDING_MAX + 7):
        outbox.add(a_row(START_US + number))
    assert outbox.rows == PENDING_MAX
    assert outbox.evicted_rows == 7


async def test_a_full_disk_is_survived_and_healed() -> None:
    """Rows wait in memory, and what was acknowledged is gone whichever way it was held."""
    disk = MemoryDisk(capacity=0)
    outbox = an_outbox(disk)
    outbox.add(a_row())
    await outbox.flush()
    disk.capacity = 10**6
    outbox.add(a_row())
    await outbox.flush()
    assert [len(report.results) for report in await stored(outbox)] == [1, 1]
    await outbox.ack({outbox.epoch: 2})
    assert (outbox.rows, outbox.size_bytes, outbox.evicted_rows) == (0, 0, 0)
    await outbox.close()
    assert disk.closed


class HeldDisk(MemoryDisk):
    """A disk whose writes take until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = Event()

    def append(self, name: str, data: bytes) -> None:
        assert self.let_go.wait(10.0)
        super().append(name, data)


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("flushes", [1, 2])
@pytest.mark.parametrize("held", [False, True])
async def test_a_stop_loses_no_row(*, turns: int, flushes: int, held: bool) -> None:
    """Whenever the cancel comes, what was given is spooled by the last flush or counted as lost."""
    disk = HeldDisk()
    outbox = an_outbox(disk)
    if not held:
        disk.let_go.set()
    for number in range(35):
        outbox.add(a_row(START_US + number))
    async with trio.open_nursery() as nursery:
        for _ in range(flushes):
            nursery.start_soon(outbox.flush)
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
        disk.let_go.set()
    await outbox.flush()
    slots = [row.slot_at_us - START_US for one in await stored(outbox) for row in one.results]
    assert slots == list(range(35))
    assert (outbox.rows, outbox.evicted_rows) == (35, 0)


async def test_an_empty_flush_stores_nothing() -> None:
    """No rows, no report."""
    outbox = an_outbox()
    await outbox.flush()
    assert await stored(outbox) == []
    assert outbox.next_seq == 1


async def test_certificates_of_one_server_cost_no_row_of_another() -> None:
    """A server that makes up a large certificate for each visitor only makes reports smaller."""
    outbox = an_outbox()
    outbox.pace(flush_s=5.0, flush_rows=100)
    for number in range(100):
        der = number.to_bytes(4, "big") * 25_000
        outbox.add(a_row(START_US + number), (Certificate(sha256=fingerprint(der), der=der),))
    await outbox.flush()
    found = await outbox.read(after=(0, 0), limit=10**6)
    assert max(one.record.raw_bytes for one in found) <= REPORT_BYTES_MAX
    reports = await stored(outbox)
    slots = [row.slot_at_us - START_US for report in reports for row in report.results]
    assert slots == list(range(100))
    assert sum(len(report.certificates) for report in reports) == 100


async def test_traces_of_an_hour_go_out_in_pieces() -> None:
    """A plan may want reports that hold more hops than one can."""
    hop = Hop(ttl=1, packet=0, router="192.0.2.1", rtt_us=1, icmp_type=11, icmp_code=0)
    outbox = an_outbox()
    outbox.pace(flush_s=3600.0, flush_rows=20_000)
    for number in range(5):
        outbox.add(a_row(START_US + number, hops=(hop,) * (HOPS_MAX // 5 + 1)))
    await outbox.flush()
    found = await outbox.read(after=(0, 0), limit=10)
    assert [one.record.rows for one in found] == [1] * 5
    assert found[-1].record.first_at_us == START_US + 4


async def test_no_plan_makes_reports_a_load_on_the_disk(autojump_clock: MockClock) -> None:
    """Neither rows that call for a report each, nor rows that somebody waits for."""
    outbox = an_outbox()
    outbox.pace(flush_s=3600.0, flush_rows=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        for number in range(200):
            outbox.add(a_row(START_US + number, trigger=Trigger.REQUEST))
            with trio.move_on_after(FLUSH_MIN_S / 20):
                await trio.sleep_forever()
        nursery.cancel_scope.cancel()
    await outbox.flush()
    assert outbox.rows == 200
    assert outbox.next_seq <= 2 * 200 / ROWS_MIN


async def test_an_ack_of_epochs_that_nothing_is_of_leaves_nothing_behind() -> None:
    """A coordinator may claim to hold a hundred thousand, in each session others."""
    spool = Spool(MemoryDisk(), settings=SpoolSettings(), now_us=START_US)
    outbox = Outbox(spool)
    outbox.add(a_row())
    await outbox.flush()
    tracemalloc.start()
    await outbox.ack(dict.fromkeys(range(100_000), 1))
    kept_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept_bytes < 100_000
    assert outbox.rows == 1
