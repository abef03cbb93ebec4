"""What a vantage is given to do for one measurement, and what it says afterwards: plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Self, TypeAlias

from proto.model import Check, Kind
from tests.bench.ground import NAME

MIX: Final = {"icmp": 0.5, "tcp": 0.3, "https": 0.2}
"""Shares of a mixed load: half echoes, and every fifth check a full handshake."""

_BLOCKS: Final = {"icmp": 64, "tcp": 65, "https": 66, "http": 67}
PEER_BLOCK: Final = 68
"""Second byte of the addresses that only peers contact."""


class Clock(StrEnum):
    """Whose clock the times of a run rest on."""

    KERNEL = "kernel"  # as shipped: receive stamps and TCP_INFO
    KERNEL_BOTH = "kernel_both"  # and stamps of sending
    USER = "user"  # as on a kernel without stamps: the process's own clock at both ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Checks per second by what they do, for how long, and what to write where."""

    per_s: dict[str, float]
    seconds: float
    warmup_s: float = 1.0
    interval_s: float = 10.0
    packets: int = 1
    concurrent: int = 200
    clock: Clock = Clock.KERNEL
    ca_file: str = ""
    directory: str = ""

    def checks(self) -> tuple[Check, ...]:
        """The plan: a target of its own for every check."""
        made = (check for what in self.per_s for check in self._checks_of(what))
        return tuple(_numbered(made))

    def _checks_of(self, what: str) -> Iterator[Check]:
        for number in range(round(self.per_s[what] * self.interval_s)):
            address = f"10.{_BLOCKS[what]}.{number // 250}.{number % 250 + 1}"
            yield Check(
                check_no=0,
                check_id=f"{what}-{number}",
                kind={"icmp": Kind.ICMP, "tcp": Kind.TCP}.get(what, Kind.HTTP),
                host=address if what in {"icmp", "tcp"} else NAME,
                pinned=None if what in {"icmp", "tcp"} else address,
                port={"icmp": None, "https": 443}.get(what, 80),
                use_tls=what == "https",
                interval_s=self.interval_s,
                packets=self.packets,
            )

    def as_json(self) -> dict[str, Any]:
        """For the other process."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """What `as_json` made."""
        return cls(**{**fields, "clock": Clock(fields["clock"])})


def _numbered(checks: Iterator[Check]) -> Iterator[Check]:
    for number, check in enumerate(checks):
        yield replace(check, check_no=number)


def mixed(per_s: float) -> dict[str, float]:
    """A mixed load of so many checks per second."""
    return {what: share * per_s for what, share in MIX.items()}


Kept: TypeAlias = tuple[str | int | None, ...]
"""A row's fields in the order of `Row`."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is kept of a result."""

    address: str | None
    port: int | None
    started_at_us: int | None
    slot_at_us: int
    failure: str | None
    reason: str | None
    validity: str
    sent: int
    rtt_us: int | None
    first_byte_us: int | None
    lateness_us: int | None
    stamp_source: str | None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a vantage did between the two instants."""

    from_us: int
    to_us: int
    cpu_s: float
    rss_bytes: int
    kept: list[Kept] = field(repr=False)

    @cached_property
    def rows(self) -> list[Row]:
        """Every slot of the run, also of its warm-up."""
        return [Row(*fields) for fields in self.kept]  # type: ignore[arg-type]

    @property
    def seconds(self) -> float:
        """How long it was measured."""
        return (self.to_us - self.from_us) / 1e6

    @property
    def due(self) -> list[Row]:
        """The slots that fell due meanwhile."""
        return [row for row in self.rows if self.from_us <= row.slot_at_us < self.to_us]

    @property
    def run(self) -> list[Row]:
        """The checks that started meanwhile."""
        return [
            row
            for row in self.rows
            if row.started_at_us is not None and self.from_us <= row.started_at_us < self.to_us
        ]

    def as_json(self) -> dict[str, Any]:
        """For the other process."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """What `as_json` made."""
        return cls(**fields)
