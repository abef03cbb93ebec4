"""The columns of a report as data: what each carries and how a missing value is written.

Both bridges read this table: `proto.codec` row by row, the coordinator's intake column by column.
A new column is one field in report.proto, one in model.Result and one row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proto.model import Failure, Operation, Reason, StampSource, State, Trigger, Validity


class Encoding(StrEnum):
    """How a value becomes an unsigned integer."""

    PLAIN = "plain"  # the value itself; never missing
    PLUS_ONE = "plus_one"  # value + 1; 0 = not known
    ZIGZAG = "zigzag"  # zigzag(value) + 1; 0 = not known
    TEXT = "text"  # number into the body's dictionary + 1; 0 = not known


TIME_US_MAX: Final = 600_000_000
"""No check takes ten minutes: a longer time is a broken clock, or a process that stood still."""

COUNT_MAX: Final = 65_535
"""Of packets in one slot. A peer may send more of them; that it sent so many is enough to know."""

APART_US_MAX: Final = 24 * 3600 * 1_000_000
"""Between a slot and its start, by the wall clock: a check that started further away was not that slot."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a report. `words` are the members of its enumeration, in wire order."""

    name: str
    encoding: Encoding
    words: tuple[StrEnum, ...] = ()
    bits: int = 32  # width on the wire before any zigzag
    boolean: bool = False  # 1 and 0 mean yes and no


def _enum(name: str, words: type[StrEnum], encoding: Encoding) -> Column:
    return Column(name, encoding, tuple(words))


COLUMNS: Final[tuple[Column, ...]] = (
    _enum("state", State, Encoding.PLAIN),
    _enum("reason", Reason, Encoding.PLUS_ONE),
    Column("address", Encoding.TEXT),
    Column("port", Encoding.PLUS_ONE),
    Column("family", Encoding.PLAIN),
    _enum("operation", Operation, Encoding.PLUS_ONE),
    _enum("failure", Failure, Encoding.PLUS_ONE),
    Column("sent", Encoding.PLAIN),
    Column("lost", Encoding.PLAIN),
    Column("duplicates", Encoding.PLUS_ONE),
    Column("late", Encoding.PLUS_ONE),
    Column("retransmits", Encoding.PLUS_ONE),
    Column("rtt_us_min", Encoding.PLUS_ONE),
    Column("rtt_us_median", Encoding.PLUS_ONE),
    Column("rtt_us_max", Encoding.PLUS_ONE),
    Column("resolve_us", Encoding.PLUS_ONE),
    Column("connect_us", Encoding.PLUS_ONE),
    Column("tls_us", Encoding.PLUS_ONE),
    Column("first_byte_us", Encoding.PLUS_ONE),
    Column("total_us", Encoding.PLUS_ONE),
    _enum("stamp_source", StampSource, Encoding.PLUS_ONE),
    Column("http_status", Encoding.PLUS_ONE),
    Column("http_version", Encoding.TEXT),
    Column("body_bytes", Encoding.PLUS_ONE),
    Column("body_sha256", Encoding.TEXT),
    Column("location", Encoding.TEXT),
    Column("cert_sha256", Encoding.TEXT),
    Column("cert_verify", Encoding.PLUS_ONE),
    Column("tls_version", Encoding.TEXT),
    Column("dns_rcode", Encoding.PLUS_ONE),
    Column("dns_ttl_s", Encoding.PLUS_ONE),
    Column("answers", Encoding.TEXT),
    Column("router", Encoding.TEXT),
    Column("icmp_type", Encoding.PLUS_ONE),
    Column("icmp_code", Encoding.PLUS_ONE),
    Column("edge", Encoding.TEXT),
    Column("lateness_us", Encoding.ZIGZAG, bits=64),
    Column("clock_offset_us", Encoding.ZIGZAG, bits=64),
    Column("clock_error_us", Encoding.PLUS_ONE),
    _enum("validity", Validity, Encoding.PLAIN),
    _enum("trigger", Trigger, Encoding.PLAIN),
    Column("page", Encoding.TEXT),
    Column("dns_flags", Encoding.TEXT),
    Column("clock_synchronised", Encoding.PLUS_ONE, boolean=True),
)
"""Every column but the three that are coded by their own rule: slot, start and check."""

HOP_COLUMNS: Final[tuple[Column, ...]] = (
    Column("ttl", Encoding.PLAIN),
    Column("packet", Encoding.PLAIN),
    Column("router", Encoding.TEXT),
    Column("rtt_us", Encoding.PLUS_ONE),
    Column("icmp_type", Encoding.PLUS_ONE),
    Column("icmp_code", Encoding.PLUS_ONE),
)
"""Fields of a hop; in a report each has the prefix `hop_`, and `hop_row` says whose it is."""


def zigzag(value: int) -> int:
    """Map a signed integer to an unsigned one, small magnitudes first."""
    return value * 2 if value >= 0 else -value * 2 - 1


def unzigzag(value: int) -> int:
    """Undo `zigzag`."""
    return value >> 1 if value & 1 == 0 else -((value + 1) >> 1)
