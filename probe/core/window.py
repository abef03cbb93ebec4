"""Which reports are on their way, and what of them the coordinator has for good.

The coordinator grants a window: that many reports may be unacknowledged, so that its memory is
bounded whatever a backlog holds. An Ack covers every seq of its epoch up to it; a Reject settles one
report that will never be taken. A report that is refused behind one that is still out stays
uncovered until that one is settled too: what the spool forgets is always a prefix.
"""

from __future__ import annotations

from dataclasses import dataclass

Place = tuple[int, int]
"""(epoch, seq): the name of a report of this probe, in sending order."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What an answer settled: rows taken by the coordinator, rows refused."""

    rows: int = 0
    refused_rows: int = 0


class Window:
    """The reports of one session."""

    __slots__ = ("_known", "_out", "_refused", "_size", "covered", "cursor")

    def __init__(self, size: int, *, known: dict[int, int]) -> None:
        self._size = max(1, size)
        self._known = known  # high-water marks by epoch, from the Welcome
        self._out: dict[Place, int] = {}  # rows by place, in sending order
        self._refused: set[Place] = set()
        self.cursor: Place = (0, 0)  # the last report looked at
        self.covered: dict[int, int] = {}  # settled since last asked: seq by epoch

    @property
    def room(self) -> int:
        """How many reports may be sent now."""
        return max(0, self._size - len(self._out) + len(self._refused))

    def pass_by(self, place: Place) -> bool:
        """Advance to a report of the spool; True = the coordinator has it already."""
        self.cursor = place
        return self._known.get(place[0], 0) >= place[1]

    def sent(self, place: Place, *, rows: int) -> None:
        """A report went out."""
        self._out[place] = rows

    def acked(self, place: Place) -> Settled:
        """Everything of this epoch up to this seq is committed; what was never sent is not."""
        taken = [out for out in self._out if out[0] == place[0] and out[1] <= place[1]]
        rows = sum(self._out[out] for out in taken if out not in self._refused)
        for out in taken:
            self._settle(out)
        self._settle_refused()
        return Settled(rows=rows)

    def rejected(self, place: Place) -> Settled:
        """One report will never be taken."""
        if place not in self._out or place in self._refused:
            return Settled()
        self._refused.add(place)
        rows = self._out[place]
        self._settle_refused()
        return Settled(refused_rows=rows)

    def take_covered(self) -> dict[int, int]:
        """What the spool may forget since the last time: seq by epoch."""
        covered, self.covered = self.covered, {}
        return covered

    def _settle_refused(self) -> None:
        while self._out and (first := next(iter(self._out))) in self._refused:
            self._settle(first)

    def _settle(self, place: Place) -> None:
        del self._out[place]
        self._refused.discard(place)
        self.covered[place[0]] = max(place[1], self.covered.get(place[0], 0))
