"""What the spool keeps, in which form, and what it gives up first.

Problem. A probe must hold its rows through hours without a coordinator, through kill -9, and on a
disk that somebody else fills. A database file is the obvious choice and the wrong one: on a full
disk SQLite needs space even to delete, and then could not be reopened to be drained (measured).

Ours. Append-only segment files. A record is one report body with a header and a checksum; a torn
tail ends the segment and loses only itself. Whatever makes room only unlinks. There is no cursor
file: acknowledged segments are unlinked, and what is sent twice the coordinator drops by
`(probe, epoch, seq)`. The epoch is new at every start of the process: after a torn tail no
(epoch, seq) can ever name two different reports.

    file    <epoch, 16 hex digits>-<seq of the first record, 12 digits>.seg
    record  <size of body u32><crc32 u32> <seq u64><rows u32><raw_bytes u32><codec u8><first_at_us i64> body
    crc32   over everything behind it

Two ways to give up rows. `oldest` is plain. `thin` takes, from the older half, the segment whose
neighbours are closest in time: a long outage keeps a picture that gets sparser towards the past,
instead of a hole.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

_HEAD: Final = struct.Struct("<II")
_FACTS: Final = struct.Struct("<QIIBq")
HEADER_BYTES: Final = _HEAD.size + _FACTS.size

BODY_MAX: Final = 16 << 20
"""A size beyond this in a header is damage: the largest report is under 1 MiB."""

_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9]{12})\.seg")
_EVICTED: Final = re.compile(r"evicted-([0-9]{20})")


class Eviction(StrEnum):
    """Which rows go when the spool is full."""

    OLDEST = "oldest"
    THIN = "thin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One report as kept and as sent; `body` is encoded as `codec` says."""

    seq: int
    rows: int
    raw_bytes: int
    codec: int
    first_at_us: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One file of consecutive records of one epoch, or one record held in memory."""

    epoch: int
    first_seq: int
    last_seq: int
    size: int
    rows: int
    first_at_us: int
    volatile: bool = False

    @property
    def name(self) -> str:
        """Its file name."""
        return segment_name(self.epoch, self.first_seq)


def segment_name(epoch: int, first_seq: int) -> str:
    """Names sort as (epoch, seq) do."""
    return f"{epoch:016x}-{first_seq:012d}.seg"


def parse_segment_name(name: str) -> tuple[int, int] | None:
    """(epoch, first seq), or None for a file that is no segment."""
    found = _NAME.fullmatch(name)
    return None if found is None else (int(found[1], 16), int(found[2]))


def evicted_name(rows: int) -> str:
    """The count of evicted rows lives in a file's name: renaming needs no space."""
    return f"evicted-{rows:020d}"


def parse_evicted_name(name: str) -> int | None:
    """Rows evicted so far, or None for any other file."""
    found = _EVICTED.fullmatch(name)
    return None if found is None else int(found[1])


def encode(record: Record) -> bytes:
    """The bytes of one record."""
    facts = _FACTS.pack(record.seq, record.rows, record.raw_bytes, record.codec, record.first_at_us)
    crc = zlib.crc32(record.body, zlib.crc32(facts))
    return _HEAD.pack(len(record.body), crc) + facts + record.body


def scan(data: bytes) -> tuple[tuple[Record, ...], int]:
    """Every whole record from the start, and how many bytes they are; the rest is torn."""
    records = []
    offset = 0
    while (record := _record_at(data, offset)) is not None:
        records.append(record)
        offset += HEADER_BYTES + len(record.body)
    return tuple(records), offset


def _record_at(data: bytes, offset: int) -> Record | None:
    if len(data) - offset < HEADER_BYTES:
        return None
    size, crc = _HEAD.unpack_from(data, offset)
    end = offset + HEADER_BYTES + size
    if size > BODY_MAX or end > len(data):
        return None
    if zlib.crc32(data[offset + _HEAD.size : end]) != crc:
        return None
    seq, rows, raw_bytes, codec, first_at_us = _FACTS.unpack_from(data, offset + _HEAD.size)
    body = data[offset + HEADER_BYTES : end]
    return Record(
        seq=seq, rows=rows, raw_bytes=raw_bytes, codec=codec, first_at_us=first_at_us, body=body
    )


def segment_of(epoch: int, records: Sequence[Record], *, size: int) -> Segment:
    """What is known of a file that holds these records (at least one)."""
    return Segment(
        epoch=epoch,
        first_seq=records[0].seq,
        last_seq=records[-1].seq,
        size=size,
        rows=sum(record.rows for record in records),
        first_at_us=records[0].first_at_us,
    )


def choose_victim(segments: Sequence[Segment], policy: Eviction) -> Segment | None:
    """Which of these (oldest first, the open one left out) to unlink; None when there is none."""
    older = segments[: len(segments) // 2 + 1]
    if policy is Eviction.OLDEST or len(older) <= 2:
        return segments[0] if segments else None
    middle = range(1, len(older) - 1)
    return older[min(middle, key=lambda i: older[i + 1].first_at_us - older[i - 1].first_at_us)]


def is_behind(segment: Segment, *, epoch: int, seq: int) -> bool:
    """Whether all of a segment is covered by an acknowledgement."""
    return segment.epoch == epoch and segment.last_seq <= seq
