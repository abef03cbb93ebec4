"""Runs what is due: one scheduler task, a task per due check, every slot to the ledger.

    schedule ──due──► waiting ──gate──► running ──► ledger ──► keep
                         │                │
                         └── not_run ◄────┘ (superseded, refused, unsupported, stopped)

Nothing here knows of sockets, disks or the coordinator: the clocks, the runner and the keeper are
passed in, so that a day of slots runs in a test in a moment of virtual time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from probe.core import ledger
from probe.core.limits import Gate, Limits
from probe.core.outcome import Outcome, first_operation
from probe.core.schedule import Gap, Schedule, Slot
from probe.io.clock import Clocks
from probe.io.vitals import Lateness
from proto.model import Certificate, Check, Failure, Reason, Result, State, Validity

STARTS_PER_TURN: Final = 64
"""Starts before the loop reads sockets again: more would let replies wait behind sends."""

NAP_MAX_S: Final = 1.0
"""The clocks are looked at this often even with nothing due, so that a step is seen early."""

GAP_ROWS_MAX: Final = 1000
"""Rows written for one gap of one check; older slots are left to the store as `unreported`."""

STOP_GRACE_S: Final = 10.0
"""Running checks may finish for this long after a stop; systemd would kill after 90 s."""

Keep = Callable[[Result, Sequence[Certificate]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """How checks are run here."""

    run: Callable[[Check, int], Awaitable[Outcome]]  # with the slot's instant, us since 1970 UTC
    unsupported: Callable[[Check], str | None]


class Engine:
    """The measuring half of a probe."""

    def __init__(
        self, probe_id: str, *, clocks: Clocks, limits: Limits, runner: Runner, keep: Keep
    ) -> None:
        self._clocks = clocks
        self._runner = runner
        self._keep = keep
        self._schedule = Schedule(probe_id, now_us=clocks.look().now_us)
        self._gate = Gate(limits, now_s=clocks.mono_us() / 1e6)
        self._waiting: dict[int, _Due] = {}  # by check_no, in the order they fell due
        self._running: dict[int, _Due] = {}  # by a serial number
        self._serial = 0
        self._era = 0
        self._wake = trio.Event()
        self._stopping = False
        self.lateness = Lateness()
        self._log = structlog.get_logger("engine")

    @property
    def queue_depth(self) -> int:
        """Checks waiting or running."""
        return len(self._waiting) + len(self._running)

    def adopt(self, checks: Sequence[Check]) -> int:
        """Follow another plan from now on; slots that fell due before belong to the old one.

        Returns the first instant whose slots are the new plan's, in microseconds since 1970 UTC.
        """
        now_us = self._look()
        self._schedule.adopt(checks)
        self._wake.set()
        return now_us + 1

    def may_contact(self, address: str) -> bool:
        """Count one contact of an address; False when the operator's rate for it is used up."""
        return self._gate.admit_address(address, now_s=self._clocks.mono_us() / 1e6)

    def stop(self) -> None:
        """Start nothing more; `run` returns when the running checks ended or their grace is over."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Measure until `stop`."""
        async with trio.open_nursery() as nursery:
            while not self._stopping:
                self._wake = trio.Event()
                self._look()
                started = self._start(nursery)
                if started == STARTS_PER_TURN:
                    await trio.lowlevel.checkpoint()
                else:
                    await self._nap()
            await self._finish(nursery)

    # --- one turn -------------------------------------------------------------------------------

    def _look(self) -> int:
        """Take every slot that fell due since the last look; returns the instant of this one."""
        steps = self._clocks.steps
        reading = self._clocks.look()
        if reading.era != self._era:
            self._era = reading.era
            self._schedule.restart(now_us=reading.now_us, era=reading.era)
        jumped_us = self._clocks.take_jump_us()
        if jumped_us:
            self._log.warning("clock_stepped", jump_ms=jumped_us // 1000)
        turn = self._schedule.due(reading.now_us, jumped_us=jumped_us)
        for gap in turn.missed:
            self._record_gap(gap)
        for slot in turn.start:
            superseded = self._waiting.pop(slot.check.check_no, None)
            if superseded is not None:
                self._record_not_run(superseded.slot, Reason.OVERLOADED)
            self._waiting[slot.check.check_no] = _Due(slot, steps)
        return reading.now_us

    def _start(self, nursery: trio.Nursery) -> int:
        """Start what may start; the number of starts, at most STARTS_PER_TURN."""
        started = 0
        for check_no, due in list(self._waiting.items()):
            if started == STARTS_PER_TURN:
                break
            check = due.slot.check
            if not self._gate.has_room(check):
                continue
            del self._waiting[check_no]
            reason = self._refusal(check)
            if reason is not None:
                self._record_not_run(due.slot, reason)
                continue
            self._serial += 1
            self._running[self._serial] = due
            nursery.start_soon(self._run, self._serial, due)
            started += 1
        return started

    def _refusal(self, check: Check) -> Reason | None:
        if self._runner.unsupported(check) is not None:
            return Reason.UNSUPPORTED
        return self._gate.admit(check, now_s=self._clocks.mono_us() / 1e6)

    async def _nap(self) -> None:
        """Until the next slot, a look at the clocks, or something to do."""
        next_at_us = self._schedule.next_at_us()
        nap_s = NAP_MAX_S
        if next_at_us is not None:
            nap_s = min(nap_s, max(0.0, (next_at_us - self._clocks.look().now_us) / 1e6))
        with trio.move_on_after(nap_s):
            await self._wake.wait()

    async def _run(self, serial: int, due: _Due) -> None:
        slot, check = due.slot, due.slot.check
        lateness_us = self._clocks.look().now_us - slot.slot_at_us
        self.lateness.add(lateness_us)
        started_at_us = self._clocks.wall()
        try:
            outcome = await self._runner.run(check, slot.slot_at_us)
        except Exception:  # noqa: BLE001  # the supervisor of a check: told below, see why
            # A defect of ours. One odd reply must not take a vantage point down again and again, so
            # it is told loudly and the row says that it says nothing.
            self._log.exception("check_crashed", check_no=check.check_no, kind=check.kind.value)
            outcome = _crashed(check, started_at_us=started_at_us)
        finally:
            self._gate.finished(check)
        del self._running[serial]
        self._clocks.look()
        row = ledger.measured(
            outcome.result,
            slot_at_us=slot.slot_at_us,
            lateness_us=lateness_us,
            check=check,
            clock=self._clocks.facts(steps_before=due.steps),
        )
        self._keep(row, outcome.certificates)
        if self._waiting or self._stopping:
            self._wake.set()

    async def _finish(self, nursery: trio.Nursery) -> None:
        """Every slot that fell due and was not measured ends as `stopped`."""
        self._look()
        waiting, self._waiting = self._waiting, {}
        for due in waiting.values():
            self._record_not_run(due.slot, Reason.STOPPED)
        with trio.move_on_after(STOP_GRACE_S):
            while self._running:
                self._wake = trio.Event()
                await self._wake.wait()
        nursery.cancel_scope.cancel()
        for due in self._running.values():
            self._record_not_run(due.slot, Reason.STOPPED)

    def _record_gap(self, gap: Gap) -> None:
        recorded = gap.newest(GAP_ROWS_MAX)
        self._log.warning(
            "slots_missed",
            check_no=gap.check.check_no,
            slots=gap.count,
            reason=gap.reason.value,
            recorded=recorded.count,
        )
        for slot in recorded.slots():
            self._record_not_run(slot, gap.reason)

    def _record_not_run(self, slot: Slot, reason: Reason) -> None:
        row = ledger.not_run(slot.check, slot_at_us=slot.slot_at_us, reason=reason)
        self._keep(row, ())


def _crashed(check: Check, *, started_at_us: int) -> Outcome:
    result = Result(
        check_no=check.check_no,
        slot_at_us=0,
        started_at_us=started_at_us,
        state=State.MEASURED,
        port=check.port,
        family=check.family,
        operation=first_operation(check),
        failure=Failure.UNKNOWN,
        validity=Validity.PROBE_FAULT,
    )
    return Outcome(result=result, attempts=())


@dataclass(frozen=True, slots=True)
class _Due:
    """A slot on its way, and how many clock steps had been seen when it fell due."""

    slot: Slot
    steps: int
