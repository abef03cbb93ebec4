"""Which checks are due: one heap of wall-aligned slots, every slot exactly once.

The slots of a check lie on the grid of `proto.slots`: wall-aligned, with a phase that depends on the
probe and the check, so a fleet never meets at a target at one instant and a probe meets its own
targets one after the other.

Whose slots are they? A slot is the probe's to report when the plan was in force and the process
ran. Slots before the first plan or while the process was down are nobody's row: the store derives
`unreported` for them from the plan history. Of the probe's own slots each is handed out once:

  - on time or less than one interval late: to be run;
  - one interval late or more, because the process was starved or stopped by a signal: a gap with
    the reason `overloaded`. Running them now would bunch them up and measure something else;
  - in a stretch that the wall clock jumped over (suspend, or a step): a gap with `stopped`.

One sleeping task per check costs 271 MB at 50,000 checks and wakes late; a heap with one task needs
32 MB (measured), so that is what this is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from proto import slots
from proto.model import Check, Reason


@dataclass(frozen=True, slots=True)
class Slot:
    """One instant of one check."""

    check: Check
    slot_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Consecutive slots of one check that are past running."""

    check: Check
    first_slot_at_us: int
    count: int
    reason: Reason

    def newest(self, limit: int) -> Gap:
        """The last `limit` slots of it."""
        dropped = max(0, self.count - limit)
        first_us = self.first_slot_at_us + dropped * interval_us(self.check)
        return replace(self, first_slot_at_us=first_us, count=self.count - dropped)

    def slots(self) -> Iterator[Slot]:
        """One by one, oldest first."""
        step_us = interval_us(self.check)
        for i in range(self.count):
            yield Slot(self.check, self.first_slot_at_us + i * step_us)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one look at the schedule brought, slots in the order they fell due."""

    start: tuple[Slot, ...]
    missed: tuple[Gap, ...]


def interval_us(check: Check) -> int:
    """The grid's step in microseconds; at least one."""
    return max(1, round(check.interval_s * 1_000_000))


class Schedule:
    """All checks of one plan and how far their slots were handed out."""

    __slots__ = ("_checks", "_done_us", "_era", "_heap", "_probe_id")

    def __init__(self, probe_id: str, *, now_us: int) -> None:
        self._probe_id = probe_id
        self._checks: dict[int, Check] = {}
        self._heap: list[tuple[int, int]] = []
        self._done_us = now_us - 1
        self._era = 0

    def adopt(self, checks: Iterable[Check]) -> None:
        """Replace the checks from the last look on: earlier slots belong to the old ones.

        A check that stays keeps its grid, so its next slot is the one it would have had.
        """
        self._checks = {check.check_no: check for check in checks}
        self._lay_grid()

    def restart(self, *, now_us: int, era: int) -> None:
        """Begin a new grid at `now_us` after the clock went far back; `era` keeps slots distinct."""
        self._done_us = now_us - 1
        self._era = era
        self._lay_grid()

    def next_at_us(self) -> int | None:
        """When the next slot falls due; None with no checks."""
        return self._heap[0][0] if self._heap else None

    def due(self, now_us: int, *, jumped_us: int = 0) -> Turn:
        """Every slot up to `now_us`; `jumped_us` of that time the wall clock jumped over."""
        start: list[Slot] = []
        missed: list[Gap] = []
        while self._heap and self._heap[0][0] <= now_us:
            first_us, check_no = self._heap[0]
            check = self._checks[check_no]
            step_us = interval_us(check)
            late = (now_us - first_us) // step_us
            if late:
                missed.extend(_gaps(check, first_us, late, now_us - max(jumped_us, 0)))
            latest_us = first_us + late * step_us
            start.append(Slot(check, latest_us))
            heapq.heapreplace(self._heap, (latest_us + step_us, check_no))
        self._done_us = max(self._done_us, now_us)
        start.sort(key=lambda slot: (slot.slot_at_us, slot.check.check_no))
        return Turn(tuple(start), tuple(missed))

    def _lay_grid(self) -> None:
        self._heap = [
            (self._first_after(check, self._done_us), check_no)
            for check_no, check in self._checks.items()
            if check.interval_s  # 0 = no slots: it runs when it is triggered
        ]
        heapq.heapify(self._heap)

    def _first_after(self, check: Check, after_us: int) -> int:
        step_us = interval_us(check)
        phase = slots.phase_us(self._probe_id, check.check_no, step_us)
        return slots.first_slot_us(after_us + 1, interval_us=step_us, phase=phase + self._era)


def _gaps(check: Check, first_us: int, count: int, jumped_from_us: int) -> Iterator[Gap]:
    """Split missed slots at the instant from which the wall clock jumped."""
    step_us = interval_us(check)
    before = min(count, max(0, (jumped_from_us - first_us) // step_us + 1))
    parts = (
        (first_us, before, Reason.OVERLOADED),
        (first_us + before * step_us, count - before, Reason.STOPPED),
    )
    for first_slot_at_us, size, reason in parts:
        if size > 0:
            yield Gap(check=check, first_slot_at_us=first_slot_at_us, count=size, reason=reason)
