"""Runs what is due: one scheduler task, tasks for what cannot go without, every slot to the ledger.

    schedule ──due──► waiting ──gate──► running ──► ledger ──► keep
                         │                │  ▲        │
                         └── not_run ◄────┘  └─ triggers ◄ failed
                  (superseded, refused, unsupported, stopped)

What `probe.core.triggers` asks for beside the schedule starts only when no slot waits, and gives way
when one has no room: the scheduled rows are the same with it and without.

Nothing here knows of sockets, disks or the coordinator: the clocks, the runner and the keeper are
passed in, so that a day of slots runs in a test in a moment of virtual time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from probe.core import ledger
from probe.core.ledger import Begun
from probe.core.limits import Gate
from probe.core.outcome import Outcome, Start
from probe.core.schedule import Gap, Schedule, Slot
from probe.core.triggers import Triggers
from probe.due import Due
from probe.io.clock import Clocks
from probe.io.vitals import Lateness
from proto.charges import contacts_of, never_beside
from proto.model import Certificate, Check, HostLimits, Reason, Result

STARTS_PER_TURN: Final = 64
"""Starts before the loop reads sockets again: more would let replies wait behind sends."""

NAP_MAX_S: Final = 1.0
"""The clocks are looked at this often even with nothing due, so that a step is seen early."""

NAP_MIN_S: Final = 0.002
"""What falls due within the next moment is started together: to wake costs more than to start."""

GAP_ROWS_MAX: Final = 1000
"""Rows written for one gap of one check; older slots are left to the store as `unreported`."""

GAP_ROWS_IN_ALL: Final = 10_000
"""And for all of them: a machine that slept for a night would make millions, and do nothing else."""

STOP_GRACE_S: Final = 10.0
"""Running checks may finish for this long after a stop; systemd would kill after 90 s."""

Keep = Callable[[Result, Sequence[Certificate]], None]

_beside_schedule: ContextVar[bool] = ContextVar("_beside_schedule", default=False)
_contacts: ContextVar[int] = ContextVar("_contacts", default=1)
"""Set in the task of a triggered run: its contacts are counted by `may_contact` as spare ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """How checks are run here."""

    run: Callable[[Check, int], Awaitable[Outcome]]  # with the slot's instant, us since 1970 UTC
    unsupported: Callable[[Check], str | None]
    # How to begin a run without a task, where it can be; a slot of the schedule, like `run`.
    ready: Callable[[Check], Start | None] = lambda _check: None


class Engine:
    """The measuring half of a probe."""

    def __init__(
        self, probe_id: str, *, clocks: Clocks, limits: HostLimits, runner: Runner, keep: Keep
    ) -> None:
        self._clocks = clocks
        self._runner = runner
        self._keep = keep
        self._schedule = Schedule(probe_id, now_us=clocks.look().now_us)
        self._triggers = Triggers()
        self._limits = limits
        self._gate = Gate(limits, now_s=clocks.mono_us() / 1e6)
        self._waiting: dict[int, Due] = {}  # by check_no, in the order they fell due
        self._running: dict[int, Due] = {}  # by a serial number
        self._fit: dict[int, Check] = {}  # found to be supported here, which stays so, by check_no
        self._serial = 0
        self._era = 0
        self._wake = trio.Event()
        self._stopping = False
        self.lateness = Lateness()
        self.overloaded_slots = 0  # given up since the start
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
        self._fit.clear()
        self._triggers.adopt(checks)
        self._tell_never(checks)
        self._wake.set()
        return now_us + 1

    def _tell_never(self, checks: Sequence[Check]) -> None:
        """Said once for a plan: the limits of this vantage keep what a failure asks for from running."""
        asked_for = {number for check in checks for number in check.on_failure}
        never = {
            check.check_id: why
            for check in checks
            if check.check_no in asked_for
            and (why := never_beside(check, self._limits)) is not None
        }
        if never:
            name, why = next(iter(never.items()))
            self._log.warning("triggered_never_runs", checks=len(never), check_id=name, fix=why)

    def request(self, check_no: int) -> None:
        """Run a check of the plan once, now: the coordinator asks. Refused with a line in the log."""
        refused = self._triggers.request(
            check_no, slot_at_us=self._clocks.look().now_us, now_us=self._clocks.mono_us()
        )
        if refused is None:
            self._wake.set()
        else:
            self._log.warning("request_refused", check_no=check_no, reason=refused)

    def once(self, checks: Sequence[Check]) -> None:
        """Run checks of no plan once, now. Refused with a line in the log."""
        refused = self._triggers.once(
            checks, slot_at_us=self._clocks.look().now_us, now_us=self._clocks.mono_us()
        )
        if refused is None:
            self._wake.set()
        else:
            self._log.warning("once_refused", checks=len(checks), reason=refused)

    def may_contact(self, address: str) -> bool:
        """Count a contact of an address; False when the operator's rate for it is used up."""
        return self._gate.admit_address(
            address,
            now_s=self._clocks.mono_us() / 1e6,
            spare=_beside_schedule.get(),
            contacts=_contacts.get(),
        )

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
                started += self._start_triggered(nursery, limit=STARTS_PER_TURN - started)
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
        self._record_gaps(turn.missed)
        for slot in turn.start:
            superseded = self._waiting.pop(slot.check.check_no, None)
            if superseded is not None:
                self._record_not_run(superseded, Reason.OVERLOADED)
            self._waiting[slot.check.check_no] = Due(slot, steps)
        return reading.now_us

    def _start(self, nursery: trio.Nursery) -> int:
        """Start what may start; the number of starts, at most STARTS_PER_TURN."""
        started, gone, crowded = 0, [], False
        for check_no, due in self._waiting.items():
            # Whoever is full may have thousands waiting: to look at them all in each turn would
            # take the time that the running ones need to end.
            if started == STARTS_PER_TURN or self._gate.is_full:
                break
            if not self._gate.has_room(due.slot.check):
                crowded = True
                continue
            gone.append(check_no)
            started += self._launch(nursery, due, self._refusal(due))
        for check_no in gone:
            del self._waiting[check_no]
        if crowded or (self._waiting and self._gate.is_full):
            self._give_way()
        return started

    def _start_triggered(self, nursery: trio.Nursery, *, limit: int) -> int:
        """Start at most `limit` of what fell due beside the schedule; what cannot start is given up."""
        started = 0
        now_us = self._clocks.mono_us()
        for run in self._triggers.due(now_us, limit=limit):
            slot = Slot(run.check, run.slot_at_us)
            due = Due(slot, self._clocks.steps, run, trio.CancelScope())
            late = run.too_late(now_us) or self._waiting
            crowded = late or not self._gate.has_room(run.check)
            reason = Reason.OVERLOADED if crowded else self._refusal(due)
            started += self._launch(nursery, due, reason)
        return started

    def _launch(self, nursery: trio.Nursery, due: Due, refused: Reason | None) -> bool:
        """Start the task of a run that was admitted; else its row says why not."""
        if refused is not None:
            self._record_not_run(due, refused)
            return False
        self._serial += 1
        self._running[self._serial] = due
        if due.run is not None or not self._begin(self._serial, due):
            nursery.start_soon(self._run, self._serial, due)
        return True

    def _begin(self, serial: int, due: Due) -> bool:
        """Begin a run that needs no task; False: it needs one."""
        begun: Begun | None = None

        def done(outcome: Callable[[], Outcome]) -> None:
            assert begun is not None, "nothing is done before it is begun"
            self._end(serial, due, begun, self._made(due.slot.check, outcome))

        try:
            start = self._runner.ready(due.slot.check)
            if start is not None:
                begun = self._note_start(due)
                start(done)
        except Exception:  # noqa: BLE001  # the supervisor of a check, as in _supervised
            begun = begun or self._note_start(due)
            self._end(serial, due, begun, self._crashed(due.slot.check))
        return begun is not None

    def _made(self, check: Check, outcome: Callable[[], Outcome]) -> Outcome:
        try:
            return outcome()
        except Exception:  # noqa: BLE001  # the supervisor of a check, as in _supervised
            return self._crashed(check)

    def _give_way(self) -> None:
        """A slot has no room: what runs beside the schedule ends, and its row says so."""
        for due in self._running.values():
            if due.scope is not None:
                due.scope.cancel()

    def _refusal(self, due: Due) -> Reason | None:
        check = due.slot.check
        if self._fit.get(check.check_no) is not check:
            if self._runner.unsupported(check) is not None:
                return Reason.UNSUPPORTED
            self._fit[check.check_no] = check
        return self._gate.admit(
            check, now_s=self._clocks.mono_us() / 1e6, spare=due.run is not None
        )

    async def _nap(self) -> None:
        """Until the next slot or triggered run, a look at the clocks, or something to do."""
        slot_us, run_us = self._schedule.next_at_us(), self._triggers.next_at_us()
        nap_s = NAP_MAX_S
        if slot_us is not None:
            nap_s = min(nap_s, (slot_us - self._clocks.look().now_us) / 1e6)
        if run_us is not None:
            nap_s = min(nap_s, (run_us - self._clocks.mono_us()) / 1e6)
        with trio.CancelScope(deadline=trio.current_time() + max(NAP_MIN_S, nap_s)):
            await self._wake.wait()

    async def _run(self, serial: int, due: Due) -> None:
        _beside_schedule.set(due.run is not None)
        _contacts.set(contacts_of(due.slot.check))
        begun = self._note_start(due)
        self._end(serial, due, begun, await self._outcome(due))

    def _note_start(self, due: Due) -> Begun:
        now_us = self._clocks.now_us()
        if due.run is not None:
            lateness_us = self._clocks.mono_us() - due.run.due_us
        else:
            lateness_us = now_us - due.slot.slot_at_us
            self.lateness.add(lateness_us)
        return Begun(self._clocks.wall(), lateness_us)

    async def _outcome(self, due: Due) -> Outcome | None:
        """What came of a run; None: it gave way to the schedule."""
        if due.scope is None:
            return await self._supervised(due.slot)
        with due.scope:
            return await self._supervised(due.slot)
        return None

    async def _supervised(self, slot: Slot) -> Outcome:
        try:
            return await self._runner.run(slot.check, slot.slot_at_us)
        except Exception:  # noqa: BLE001  # the supervisor of a check: told below, see why
            return self._crashed(slot.check)

    def _crashed(self, check: Check) -> Outcome:
        """To be called where the exception is at hand.

        A defect of ours. One odd reply must not take a vantage point down again and again, so it is
        told loudly and the row says that it says nothing.
        """
        self._log.exception("check_crashed", check_no=check.check_no, kind=check.kind.value)
        return Outcome(result=ledger.crashed(check), attempts=())

    def _end(self, serial: int, due: Due, begun: Begun, outcome: Outcome | None) -> None:
        """A run has ended: its row is made, unless its grace was over in the same turn of the loop."""
        if self._running.pop(serial, None) is None:
            return
        self._gate.finished(due.slot.check)
        if outcome is None:
            self._record_not_run(due, Reason.OVERLOADED)
        else:
            self._settle(due, begun, outcome)
        if self._waiting or self._stopping:
            self._wake.set()

    def _settle(self, due: Due, begun: Begun, outcome: Outcome) -> None:
        """Keep the row of a run that ended, and see what a failed slot asks for."""
        self._clocks.now_us()  # looks for a step of the wall clock
        row = ledger.measured(
            outcome.result,
            slot_at_us=due.slot.slot_at_us,
            begun=begun,
            check=due.slot.check,
            clock=self._clocks.facts(steps_before=due.steps),
            trigger=due.trigger,
        )
        self._record(due, row, outcome.certificates)
        if due.run is None and self._triggers.settled(
            due.slot.check, row, now_us=self._clocks.mono_us()
        ):
            self._wake.set()

    async def _finish(self, nursery: trio.Nursery) -> None:
        """Every slot that fell due and was not measured ends as `stopped`."""
        self._look()
        waiting, self._waiting = self._waiting, {}
        for due in waiting.values():
            self._record_not_run(due, Reason.STOPPED)
        with trio.move_on_after(STOP_GRACE_S):
            while self._running:
                self._wake = trio.Event()
                await self._wake.wait()
        nursery.cancel_scope.cancel()
        running, self._running = self._running, {}
        for due in running.values():
            self._record_not_run(due, Reason.STOPPED)

    def _record_gaps(self, gaps: Sequence[Gap]) -> None:
        if not gaps:
            return
        most = max(1, min(GAP_ROWS_MAX, GAP_ROWS_IN_ALL // len(gaps)))
        told = Counter(slots=0, recorded=0)
        for gap in gaps:
            recorded = gap.newest(most)
            told.update(slots=gap.count, recorded=recorded.count)
            if gap.reason is Reason.OVERLOADED:
                self.overloaded_slots += gap.count - recorded.count
            for slot in recorded.slots():
                self._record_not_run(Due(slot, 0), gap.reason)
        reasons = " ".join(sorted({gap.reason.value for gap in gaps}))
        self._log.warning("slots_missed", gaps=len(gaps), reasons=reasons, **told)

    def _record_not_run(self, due: Due, reason: Reason) -> None:
        slot_at_us = due.slot.slot_at_us
        row = ledger.not_run(
            due.slot.check, slot_at_us=slot_at_us, reason=reason, trigger=due.trigger
        )
        self._record(due, row)

    def _record(self, due: Due, row: Result, certificates: Sequence[Certificate] = ()) -> None:
        if due.run is None:
            self.overloaded_slots += row.reason is Reason.OVERLOADED
        elif row.reason in {Reason.OVERLOADED, Reason.POLICY}:
            self._triggers.given_up(due.run)
        self._keep(row, certificates)
