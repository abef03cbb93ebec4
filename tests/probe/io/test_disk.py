from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.spool import Eviction, evicted_name
from probe.io.disk import Disk, OsDisk, Spool, SpoolError, SpoolSettings
from tests.fakes.disks import MemoryDisk, StubbornDisk, TroubledDisk

SMALL = SpoolSettings(cap_bytes=4000, volatile_bytes=1000)


def put(spool: Spool, rows: int = 10, *, size: int = 60) -> int:
    """One report of `size` bytes."""
    body = bytes(size)
    return spool.put(body=body, rows=rows, raw_bytes=size, codec=1, first_at_us=spool.next_seq)


def held(spool: Spool) -> list[tuple[int, int]]:
    """(epoch, seq) of everything that would be sent."""
    return [(one.epoch, one.record.seq) for one in spool.read(after=(0, 0), limit=10**6)]


@pytest.fixture(params=["memory", "directory"])
def make_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Disk]:
    """The same directory opened again and again: the fake and the real one obey one suite."""
    memory = MemoryDisk()
    if request.param == "memory":
        return lambda: memory
    return lambda: OsDisk(tmp_path / "spool")


def open_spool(disk: Disk, settings: SpoolSettings = SMALL, *, now_us: int = 1000) -> Spool:
    """A spool of 4,000 bytes."""
    return Spool(disk, settings=settings, now_us=now_us)


def test_reports_come_back_in_order_after_a_restart(make_disk: Callable[[], Disk]) -> None:
    """A new process finds what the old one stored, under the old epoch, and writes under a new one."""
    first = open_spool(make_disk())
    assert [put(first) for _ in range(3)] == [1, 2, 3]
    first.close()
    second = open_spool(make_disk(), now_us=500)
    assert second.epoch == first.epoch + 1
    assert put(second) == 1
    assert held(second) == [(1000, 1), (1000, 2), (1000, 3), (1001, 1)]
    assert second.rows == 40


def test_reading_goes_on_where_it_stopped(make_disk: Callable[[], Disk]) -> None:
    """With a limit and a place, every report is seen once."""
    spool = open_spool(make_disk())
    for _ in range(5):
        put(spool)
    seen, after = [], (0, 0)
    while found := spool.read(after=after, limit=2):
        after = (found[-1].epoch, found[-1].record.seq)
        seen += [one.record.seq for one in found]
    assert seen == [1, 2, 3, 4, 5]


def test_acknowledged_segments_are_unlinked(make_disk: Callable[[], Disk]) -> None:
    """Also the one that is being written; later reports go on with the next seq."""
    disk = make_disk()
    spool = open_spool(disk)
    for _ in range(8):
        put(spool)
    spool.ack(epoch=spool.epoch, seq=8)
    assert (held(spool), spool.rows, spool.size_bytes) == ([], 0, 0)
    assert disk.names() == [evicted_name(0)]
    assert put(spool) == 9
    assert held(spool) == [(1000, 9)]


def test_the_cap_holds_and_what_goes_is_counted(make_disk: Callable[[], Disk]) -> None:
    """The oldest segments go, their rows are counted, and the count survives a restart."""
    disk = make_disk()
    spool = open_spool(disk)
    for _ in range(200):
        put(spool)
        assert spool.size_bytes <= SMALL.cap_bytes
    kept = held(spool)
    assert kept == [(1000, seq) for seq in range(201 - len(kept), 201)]
    assert spool.evicted_rows == (200 - len(kept)) * 10
    spool.close()
    assert open_spool(make_disk()).evicted_rows == spool.evicted_rows


def test_rows_that_were_acked_are_not_counted_as_evicted(make_disk: Callable[[], Disk]) -> None:
    """Of a segment that is half acknowledged only the other half is lost."""
    spool = open_spool(make_disk())
    for _ in range(5):
        put(spool)
    spool.ack(epoch=spool.epoch, seq=2)
    while held(spool)[0][1] <= 5:
        put(spool)
    assert spool.evicted_rows % 10 == 0
    first_kept = held(spool)[0][1]
    assert spool.evicted_rows == (first_kept - 1 - 2) * 10


def test_a_torn_tail_costs_only_the_torn_report(make_disk: Callable[[], Disk]) -> None:
    """Half a record at the end, as after a power cut, is counted and skipped."""
    disk = make_disk()
    spool = open_spool(disk)
    put(spool)
    put(spool)
    name = disk.names()[0]
    spool.close()
    disk.truncate(name, len(disk.read(name)) - 7)
    again = open_spool(make_disk())
    assert held(again) == [(1000, 1)]
    assert again.torn_bytes > 0


def test_a_segment_without_a_whole_record_is_removed(make_disk: Callable[[], Disk]) -> None:
    """Nothing in it can ever be sent."""
    disk = make_disk()
    spool = open_spool(disk)
    put(spool)
    name = disk.names()[0]
    spool.close()
    disk.truncate(name, 3)
    assert held(open_spool(make_disk())) == []
    assert name not in disk.names()


def test_files_of_others_are_left_alone(make_disk: Callable[[], Disk]) -> None:
    """A stray file in the directory is neither read nor removed."""
    disk = make_disk()
    disk.create("README")
    spool = open_spool(disk)
    put(spool)
    assert "README" in disk.names()


def test_a_full_disk_evicts_and_goes_on() -> None:
    """When somebody else fills the disk, old segments make room and every put succeeds."""
    disk = MemoryDisk(capacity=3000)
    spool = open_spool(disk)
    for _ in range(100):
        put(spool)
    assert spool.next_seq == 101
    assert disk.used <= 3000
    assert held(spool)[-1] == (1000, 100)
    assert spool.evicted_rows == (100 - len(held(spool))) * 10


def test_with_no_room_at_all_reports_wait_in_memory() -> None:
    """Nothing to evict and nothing to write to: the newest are held, bounded, and can be sent."""
    disk = MemoryDisk(capacity=0)
    spool = open_spool(disk)
    for _ in range(30):
        put(spool)
    assert spool.fault == "No space left on device"
    kept = held(spool)
    assert kept[-1] == (1000, 30)
    assert 5 < len(kept) <= 1000 // 60
    assert spool.evicted_rows == (30 - len(kept)) * 10


def test_when_space_comes_back_the_order_stays() -> None:
    """Reports held in memory lie between those on disk, and are sent in their place."""
    disk = MemoryDisk()
    spool = open_spool(disk)
    put(spool)
    disk.capacity = disk.used
    put(spool)
    put(spool)
    disk.capacity = 1 << 20
    put(spool)
    assert spool.fault is None
    assert held(spool) == [(1000, 1), (1000, 2), (1000, 3), (1000, 4)] or held(spool) == [
        (1000, 2),
        (1000, 3),
        (1000, 4),
    ]
    spool.ack(epoch=1000, seq=4)
    assert held(spool) == []


def test_a_directory_that_cannot_be_read_is_told() -> None:
    """The probe cannot promise to keep rows, and says why."""
    disk = StubbornDisk()
    disk.stubborn = True
    with pytest.raises(SpoolError, match="Input/output error"):
        open_spool(disk)


def test_a_file_system_gone_read_only_stops_nothing() -> None:
    """No truncating, no unlinking, no counting: reports still come in and go out in order."""
    disk = StubbornDisk()
    spool = open_spool(disk)
    for _ in range(20):
        put(spool)
    disk.capacity, disk.stubborn = disk.used + 30, True
    for _ in range(20):
        put(spool)
    kept = held(spool)
    assert kept == sorted(kept)
    assert kept[-1] == (1000, 40)
    spool.ack(epoch=1000, seq=40)
    assert held(spool) == []


def test_a_segment_that_vanished_is_counted_as_lost() -> None:
    """Somebody emptied the directory: reading goes on with what is left."""
    disk = MemoryDisk()
    spool = open_spool(disk)
    for _ in range(12):
        put(spool)
    disk.files.pop(disk.names()[0])
    kept = held(spool)
    assert 0 < len(kept) < 12
    assert spool.evicted_rows == (12 - len(kept)) * 10


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EROFS, errno.EACCES])
def test_only_a_full_disk_costs_what_lies_there(number: int) -> None:
    """Where room is not what is missing nothing is given up for it: new reports wait in memory."""
    disk = TroubledDisk()
    spool = open_spool(disk)
    for _ in range(20):
        put(spool)
    disk.appends = number
    for _ in range(3):
        put(spool)
    assert held(spool) == [(1000, seq) for seq in range(1, 24)]
    assert (spool.evicted_rows, spool.fault) == (0, os.strerror(number))
    disk.appends = 0
    put(spool)
    assert spool.fault is None
    assert held(spool)[-1] == (1000, 24)


def test_without_descriptors_a_report_waits_and_so_do_those_behind_it() -> None:
    """It is there, and can be read when a descriptor is free; nothing later is sent before it."""
    disk = TroubledDisk()
    spool = open_spool(disk)
    for _ in range(20):
        put(spool)
    disk.reads = errno.EMFILE
    assert held(spool) == []
    disk.reads = 0
    assert held(spool) == [(1000, seq) for seq in range(1, 21)]
    assert spool.evicted_rows == 0


def test_an_eviction_without_descriptors_counts_too_many_rather_than_too_few() -> None:
    """What was acknowledged of the oldest segment cannot be looked at then."""
    disk = TroubledDisk()
    spool = open_spool(disk, SpoolSettings(cap_bytes=1000, volatile_bytes=1000))
    put(spool)
    spool.ack(epoch=1000, seq=1)
    while spool.next_seq < 4:
        put(spool)
    spool.ack(epoch=1000, seq=1)
    disk.reads = errno.EMFILE
    while not spool.evicted_rows:
        put(spool)
    assert spool.evicted_rows % 10 == 0


steps_st = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 300)),
        st.tuples(st.just("ack"), st.integers(0, 60)),
        st.tuples(st.just("capacity"), st.integers(0, 5000)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=60,
)


@given(steps=steps_st, evict=st.sampled_from(list(Eviction)))
def test_no_row_vanishes_uncounted(steps: list[tuple[str, int]], evict: Eviction) -> None:
    """Under any history each report is held in order, acknowledged, or counted as evicted.

    Reports held only in memory go with the process; that is what the disk was asked to prevent.
    """
    disk = MemoryDisk(capacity=3000)
    settings = SpoolSettings(cap_bytes=2500, evict=evict, volatile_bytes=500)
    spool = open_spool(disk, settings)
    made: set[tuple[int, int]] = set()
    acked: set[tuple[int, int]] = set()
    volatile: set[tuple[int, int]] = set()
    lost: set[tuple[int, int]] = set()
    for step, value in steps:
        if step == "put":
            made.add((spool.epoch, put(spool, 1, size=value)))
        elif step == "capacity":
            disk.capacity = value
        elif step == "ack":
            seq = min(value, spool.next_seq - 1)
            spool.ack(epoch=spool.epoch, seq=seq)
            acked |= {one for one in made if one[0] == spool.epoch and one[1] <= seq}
        else:
            on_disk = set(held(open_spool(disk, settings, now_us=spool.epoch + 1)))
            volatile |= {one for one in held(spool) if one not in on_disk}
            spool = open_spool(disk, settings, now_us=spool.epoch + 1)
            acked -= on_disk  # a new process does not know it until the next welcome
        kept = held(spool)
        assert kept == sorted(kept)
        lost |= made - acked - volatile - set(kept)  # an ack that comes later changes no count
        assert spool.evicted_rows == len(lost)
        assert set(kept) <= made
        assert disk.used <= max(settings.cap_bytes + 400, disk.capacity)


def test_a_short_write_is_an_error(tmp_path: Path) -> None:
    """A real file that takes only part of a record is mended and the record is kept elsewhere."""
    disk = OsDisk(tmp_path)
    spool = open_spool(disk)
    put(spool)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.dup2(writer, disk._fd)
    put(spool, size=100_000)
    for fd in (reader, writer):
        os.close(fd)
    assert held(spool)[0] == (1000, 1)
    assert len(held(spool)) == 2
    spool.close()
