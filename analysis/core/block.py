"""The block: every observation that bears on one judgement, as plain values and integer arrays.

SQL counts and numbers; from here on nothing reads a store, a clock or a name more than once. The
axes are vantages x targets x channels x bins. A channel is a kind of check over one address family.
Arrays of one `Counts` have equal length: one entry per (vantage, target, channel, bin, outcome)
that was seen at all. What was never seen has no entry: absence is not zero, it is absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from proto.model import Kind, Role

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, order=True)
class Vantage:
    """Where a probe sat when it measured. A probe that moved to another network is another one."""

    name: str
    asn: int | None
    country: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A component, with the facts about its endpoint that place it in the target's hierarchy."""

    service: str
    component: str
    role: Role | None
    address: str | None = None
    asn: int | None = None
    prefix: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Channel:
    """A kind of check over one family (None = the rows did not say)."""

    kind: Kind
    family: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Attempts by outcome. `bin` is all zero in a history: there only the sums matter."""

    vantage: Ints
    target: Ints
    channel: Ints
    bin: Ints
    outcome: Ints
    count: Floats

    def where(self, keep: Bools) -> Counts:
        """The entries that a mask keeps."""
        return Counts(
            vantage=self.vantage[keep],
            target=self.target[keep],
            channel=self.channel[keep],
            bin=self.bin[keep],
            outcome=self.outcome[keep],
            count=self.count[keep],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnReport:
    """What one vantage point sent in the window: attempts, over how many targets, and what stopped it.

    `failure` is the refusal of its own system (local_*) that it met most; None = none.
    """

    vantage: str
    attempts: int
    targets: int
    failure: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """All that one judgement may look at.

    `attempts` is the undecayed number of attempts of history per (target, channel).
    `history_cells` counts the cells (vantage, target, channel, bin) of history, and `history_bins`
    over how many bins they lie: the density that the window is held against.
    `heartbeat` says of each vantage whether it was heard during the window; None = nobody knows.
    `quarantined` names vantage points whose rows are in the store and left out of all of this.
    `reports` are of the vantage points that reported anything in the window, refusals included.
    """

    scenario: str | None
    vantages: tuple[Vantage, ...]
    targets: tuple[Target, ...]
    channels: tuple[Channel, ...]
    start: datetime
    bin_s: float
    bins: int
    as_of: datetime
    window: Counts
    history: Counts
    attempts: Floats
    history_cells: Floats
    history_bins: int
    heartbeat: tuple[bool | None, ...]
    reports: tuple[OwnReport, ...] = ()
    quarantined: tuple[str, ...] = ()

    @property
    def end(self) -> datetime:
        return self.at_bin(self.bins)

    def at_bin(self, number: int) -> datetime:
        """Start of a bin."""
        return self.start + timedelta(seconds=number * self.bin_s)
