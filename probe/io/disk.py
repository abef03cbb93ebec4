"""The spool on a disk: what `probe.core.spool` decides, done with files.

Everything here blocks and belongs into one worker thread at a time. `Disk` is the little of a file
system that the spool needs, so that the same suite runs against a real one and one that fills up
on command.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from probe.core import spool as policy
from probe.core.spool import Eviction, Record, Segment
from proto.model import SoundingsError

SEGMENT_BYTES: Final = 256 << 10
"""Unit of eviction: small against the cap, large against the cost of a file."""

SEGMENTS_MIN: Final = 8
"""A small cap makes segments smaller rather than eviction coarser than an eighth."""

VOLATILE_BYTES: Final = 4 << 20
"""Rows held in memory while the disk takes nothing: hours at usual rates, bearable on 512 MB."""

_TRIES: Final = 64
"""Evictions tried for one record: another program may take each freed block at once."""


_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What making room may help against. Out of descriptors, or on a failing disk, it only loses rows."""

_PASSING: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EINTR, errno.EAGAIN}
)
"""Why a file that is there cannot be read now."""


class SpoolError(SoundingsError):
    """The spool directory cannot be used at all; the text says why and what to do."""


class Disk(Protocol):
    """One flat directory."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def append(self, name: str, data: bytes) -> None:
        """Durably add to a file, made if new. On OSError part of `data` may have been written."""

    def truncate(self, name: str, size: int) -> None: ...
    def remove(self, name: str) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def create(self, name: str) -> None: ...
    def close(self) -> None: ...


class OsDisk:
    """A real directory. Keeps the file open that was appended to last."""

    __slots__ = ("_directory", "_fd", "_name")

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._name = ""
        self._fd = -1

    def names(self) -> list[str]:
        return sorted(path.name for path in self._directory.iterdir())

    def read(self, name: str) -> bytes:
        return (self._directory / name).read_bytes()

    def append(self, name: str, data: bytes) -> None:
        if name != self._name:
            self._open(name)
        written = os.write(self._fd, data)
        if written != len(data):
            raise OSError(errno.ENOSPC, "short write", name)
        os.fdatasync(self._fd)

    def truncate(self, name: str, size: int) -> None:
        os.truncate(self._directory / name, size)

    def remove(self, name: str) -> None:
        if name == self._name:
            self.close()
        (self._directory / name).unlink(missing_ok=True)

    def rename(self, old: str, new: str) -> None:
        (self._directory / old).rename(self._directory / new)

    def create(self, name: str) -> None:
        (self._directory / name).touch(mode=0o600)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._name, self._fd = "", -1

    def _open(self, name: str) -> None:
        self.close()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._directory / name, flags, 0o600)
        self._name = name
        # Without this a power cut may keep the file's blocks and forget its name.
        directory_fd = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory_fd)
        finally:
            os.close(directory_fd)


class StillDisk(OsDisk):
    """A directory that is looked at while another process may be writing to it: changes nothing."""

    __slots__ = ()

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name, self._fd = "", -1

    def append(self, name: str, data: bytes) -> None:  # noqa: ARG002  # the protocol's names
        """Not by who looks."""
        raise OSError(errno.EROFS, "only looked at", name)

    def truncate(self, name: str, size: int) -> None:
        """A torn tail may be a record that is just being written."""

    def remove(self, name: str) -> None:
        """Whose it is removes it."""

    def rename(self, old: str, new: str) -> None:
        """Whose it is renames it."""

    def create(self, name: str) -> None:
        """Whose it is creates it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """Section `[spool]` of probe.toml."""

    cap_bytes: int = 256 << 20  # 20 M rows: 23 days at 10 rows/s
    evict: Eviction = Eviction.OLDEST
    volatile_bytes: int = VOLATILE_BYTES

    @property
    def segment_bytes(self) -> int:
        """Size at which a segment is closed."""
        return max(1, min(SEGMENT_BYTES, self.cap_bytes // SEGMENTS_MIN))


@dataclass(frozen=True, slots=True)
class Stored:
    """A record with the epoch it was made in."""

    epoch: int
    record: Record


class Spool:
    """Reports on their way to the coordinator, oldest first. Not safe for two threads at once."""

    def __init__(self, disk: Disk, *, settings: SpoolSettings, now_us: int) -> None:
        self._disk = disk
        self._settings = settings
        self._segments: list[Segment] = []
        self._memory: dict[str, bytes] = {}
        self._open: str | None = None  # name of the segment that is being written
        self._acked: dict[int, int] = {}
        self.torn_bytes = 0
        self.evicted_rows = 0
        self.fault: str | None = None  # why the disk last took nothing; None = it works
        try:
            self._load()
        except OSError as error:
            raise SpoolError(
                f"spool: cannot be read: {error.strerror or error}; check owner, mode and disk"
            ) from error
        newest = max((segment.epoch for segment in self._segments), default=0)
        self.epoch = max(now_us, newest + 1, 1)
        self.next_seq = 1

    @property
    def size_bytes(self) -> int:
        """Bytes held, on disk and in memory."""
        return sum(segment.size for segment in self._segments)

    @property
    def rows(self) -> int:
        """Rows held; those of a segment count until all of it is acknowledged."""
        return sum(segment.rows for segment in self._segments)

    def epochs(self) -> set[int]:
        """Those in which anything that is held was made."""
        return {segment.epoch for segment in self._segments}

    def put(self, *, body: bytes, rows: int, raw_bytes: int, codec: int, first_at_us: int) -> int:
        """Keep one report and return its seq. Never refuses: makes room, or holds it in memory."""
        seq = self.next_seq
        record = Record(
            seq=seq,
            rows=rows,
            raw_bytes=raw_bytes,
            codec=codec,
            first_at_us=first_at_us,
            body=body,
        )
        self.next_seq += 1
        data = policy.encode(record)
        while self._disk_bytes() + len(data) > self._settings.cap_bytes and self._evict():
            pass
        if not self._write(record, data):
            self._hold(record, data)
        return seq

    def read(self, *, after: tuple[int, int], limit: int) -> list[Stored]:
        """Up to `limit` records beyond (epoch, seq), oldest first.

        None behind one that cannot be read now: an ack of a later one would cover it.
        """
        found: list[Stored] = []
        for segment in list(self._segments):
            if (segment.epoch, segment.last_seq) <= after:
                continue
            try:
                records = self._records(segment)
            except OSError:
                return found
            for record in records:
                if (segment.epoch, record.seq) > after:
                    found.append(Stored(segment.epoch, record))
                if len(found) == limit:
                    return found
        return found

    def ack(self, *, epoch: int, seq: int) -> None:
        """The coordinator holds everything of this epoch up to this seq: unlink what is covered."""
        self._acked[epoch] = max(seq, self._acked.get(epoch, 0))
        for segment in list(self._segments):
            if policy.is_behind(segment, epoch=epoch, seq=seq):
                self._forget(segment)

    def close(self) -> None:
        """Close the open file; everything is on disk already."""
        self._disk.close()

    def _load(self) -> None:
        names = self._disk.names()
        counted = [n for n in map(policy.parse_evicted_name, names) if n is not None]
        self.evicted_rows = max(counted, default=0)
        if not counted:
            # May fail on a full disk; the first eviction tries again.
            with contextlib.suppress(OSError):
                self._disk.create(policy.evicted_name(0))
        for name in names:
            parsed = policy.parse_segment_name(name)
            if parsed is not None:
                self._load_segment(name, parsed[0])
        self._segments.sort(key=lambda segment: (segment.epoch, segment.first_seq))

    def _load_segment(self, name: str, epoch: int) -> None:
        data = self._disk.read(name)
        records, good = policy.scan(data)
        self.torn_bytes += len(data) - good
        if records:
            self._segments.append(policy.segment_of(epoch, records, size=len(data)))
        else:
            self._disk.remove(name)

    def _write(self, record: Record, data: bytes) -> bool:
        for _ in range(_TRIES):
            try:
                self._append(record, data)
            except OSError as error:
                self.fault = error.strerror or str(error)
                self._mend()
                if error.errno not in _NO_ROOM or not self._evict():
                    return False
            else:
                self.fault = None
                return True
        return False

    def _append(self, record: Record, data: bytes) -> None:
        current = self._current()
        if current is None or current.size + len(data) > self._settings.segment_bytes:
            current = replace(
                policy.segment_of(self.epoch, [record], size=0), rows=0, last_seq=record.seq - 1
            )
            self._segments.append(current)
            self._open = current.name
        self._disk.append(current.name, data)
        self._segments[-1] = replace(
            current,
            last_seq=record.seq,
            size=current.size + len(data),
            rows=current.rows + record.rows,
        )

    def _current(self) -> Segment | None:
        last = self._segments[-1] if self._segments else None
        return last if last is not None and last.name == self._open else None

    def _mend(self) -> None:
        """After a failed append: cut the torn record off, or never write to that file again."""
        current = self._current()
        if current is None:
            return
        if current.size == 0:
            self._forget(current)
            return
        try:
            self._disk.truncate(current.name, current.size)
        except OSError:
            self._open = None

    def _evict(self) -> bool:
        closed = [s for s in self._segments if s.name != self._open and not s.volatile]
        victim = policy.choose_victim(closed, self._settings.evict)
        if victim is None:
            return False
        self._count_evicted(victim)
        self._forget(victim)
        return True

    def _count_evicted(self, victim: Segment) -> None:
        """Count before unlinking: after a crash in between a gap is explained, never hidden.

        For the same reason rows that were acknowledged in an earlier process, and whose segment was
        still there, count until a welcome has told of them: too many by a segment at most.
        """
        acked = self._acked.get(victim.epoch, 0)
        lost = victim.rows
        if acked >= victim.first_seq:
            with contextlib.suppress(OSError):
                lost = sum(r.rows for r in self._records(victim) if r.seq > acked)
        before, after = self.evicted_rows, self.evicted_rows + lost
        self.evicted_rows = after
        try:
            self._disk.rename(policy.evicted_name(before), policy.evicted_name(after))
        except OSError:
            with contextlib.suppress(OSError):
                self._disk.create(policy.evicted_name(after))

    def _hold(self, record: Record, data: bytes) -> None:
        """Keep a record in memory, at the cost of the oldest that is there."""
        self._open = None  # a file holds consecutive records only, so the next one is a new file
        segment = replace(policy.segment_of(self.epoch, [record], size=len(data)), volatile=True)
        self._memory[segment.name] = data
        self._segments.append(segment)
        for oldest in [s for s in self._segments if s.volatile]:
            if sum(map(len, self._memory.values())) <= self._settings.volatile_bytes:
                break
            self._count_evicted(oldest)
            self._forget(oldest)

    def _forget(self, segment: Segment) -> None:
        self._segments.remove(segment)
        if self._memory.pop(segment.name, None) is None:
            # A file that cannot be unlinked is sent again after a restart and dropped as known.
            with contextlib.suppress(OSError):
                self._disk.remove(segment.name)
        if segment.name == self._open:
            self._open = None

    def _records(self, segment: Segment) -> Iterable[Record]:
        """Raises OSError when this machine cannot open it now."""
        try:
            held = self._memory.get(segment.name)
            data = self._disk.read(segment.name) if held is None else held
        except OSError as error:
            self.fault = error.strerror or str(error)
            if error.errno in _PASSING:
                raise
            # Somebody removed or damaged it: what cannot be read cannot be sent, and is counted.
            self.evicted_rows += segment.rows
            self._forget(segment)
            return ()
        return policy.scan(data[: segment.size])[0]

    def _disk_bytes(self) -> int:
        return sum(segment.size for segment in self._segments if not segment.volatile)
