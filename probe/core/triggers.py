"""What runs beside the schedule: attempts made again, what a failure asks for, what is requested.

Problem. A single failed attempt may be one lost packet, and a failure is best looked into while it
lasts: by the same check again some seconds later, by a trace, by an address of yesterday. Both are
the moments at which a target, or this machine, can bear the least.

Ours. A *failure* of a check begins with a failed scheduled attempt after one that did not fail, and
lasts until one is good. Only where it begins is the attempt made again (`confirm_after_s`): a target
that stays down is asked no more often than a healthy one. The checks of `on_failure` run where it
begins and again every `AGAIN_S` while it lasts; many checks of one component fail together and name
the same trace, so each runs at most once in `ANEW_S` whoever names it. Rows that say nothing of the
target (not run, this machine's own fault) neither begin nor end a failure.

Refused: to keep what cannot run now for later. A run that is late, or for which the machine has no
room, is given up, for it would measure another moment. Every run that came due has one row, like a
slot; a plan change or a stop drops the rest without one.

The time passed in is monotonic, in microseconds: a step of the wall clock moves none of this.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from proto.model import Check, Kind, Result, State, Trigger, Validity

AGAIN_S: Final = 600.0
"""A check of `on_failure` runs this often while a failure lasts: an outage must not become a load."""

ANEW_S: Final = 60.0
"""At most so often where failures keep beginning: a target that flaps is not to be traced each time."""

REQUEST_GAP_S: Final = 10.0
"""The coordinator gets one run of a check in this time: enough for a person or a judge who asks."""

ONCE_PER_S: Final = 4.0
ONCE_BURST: Final = 48
"""And of checks that are in no plan so many a second, and so many at once: each makes a row. What they
ask of a target is bounded by its own limit."""

LATE_MAX_US: Final = 1_000_000
"""A run this late has lost its moment: 3 s after a failure means no more than 4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run beside the schedule. `slot_at_us` names the slot it belongs to, by the wall clock."""

    check: Check
    slot_at_us: int
    trigger: Trigger
    due_us: int

    def too_late(self, now_us: int) -> bool:
        """Whether its moment has passed."""
        return now_us - self.due_us > LATE_MAX_US


@dataclass(frozen=True, slots=True)
class _NotBefore:
    """The earliest next run of a check of `on_failure`, where a failure begins and while one lasts."""

    anew_us: int
    again_us: int


class Triggers:
    """What is to run beside the schedule of one plan, and when each check last did."""

    __slots__ = (
        "_checks",
        "_failing",
        "_heap",
        "_no_request_before_us",
        "_not_before",
        "_once_empty_us",
        "_pending",
        "_serial",
    )

    def __init__(self) -> None:
        self._checks: dict[int, Check] = {}
        self._heap: list[tuple[int, int, Run]] = []  # by when due, then in the order asked for
        self._serial = 0
        self._failing: set[int] = set()
        self._pending: Counter[int] = Counter()  # confirmations to come, by check_no
        self._not_before: dict[int, _NotBefore] = {}  # checks of on_failure
        self._no_request_before_us: dict[int, int] = {}
        self._once_empty_us = 0

    def adopt(self, checks: Iterable[Check]) -> None:
        """Follow another plan: what was to come is dropped, what is known of its checks stays."""
        self._checks = {check.check_no: check for check in checks}
        self._heap.clear()
        self._pending.clear()
        self._failing &= self._checks.keys()
        for check_no in self._not_before.keys() - self._checks.keys():
            del self._not_before[check_no]
        for check_no in self._no_request_before_us.keys() - self._checks.keys():
            del self._no_request_before_us[check_no]

    def settled(self, check: Check, row: Result, *, now_us: int) -> bool:
        """A scheduled attempt has ended with this row; True = there is something more to run."""
        failed = _failed(row)
        if failed is False:
            self._failing.discard(check.check_no)
        if not failed or self._checks.get(check.check_no) != check:
            return False  # what another plan asks for is its own affair
        begins = check.check_no not in self._failing
        self._failing.add(check.check_no)
        before = self._serial
        if begins and not self._pending[check.check_no]:
            for after_s in check.confirm_after_s:
                self._pending[check.check_no] += 1
                due_us = now_us + _us(after_s)
                self._add(check, row.slot_at_us, Trigger.CONFIRMATION, due_us=due_us)
        for other_no in check.on_failure:
            if self._take(other_no, begins=begins, now_us=now_us):
                other = _aimed(self._checks[other_no], check, row)
                self._add(other, row.slot_at_us, Trigger.FAILURE, due_us=now_us)
        return self._serial > before

    def request(self, check_no: int, *, slot_at_us: int, now_us: int) -> str | None:
        """The coordinator asks for one run; returns why it is not taken, None when it is."""
        check = self._checks.get(check_no)
        if check is None:
            return "the plan has no such check"
        if now_us < self._no_request_before_us.get(check_no, now_us):
            return f"a check is run on request once in {REQUEST_GAP_S:g} s"
        self._no_request_before_us[check_no] = now_us + _us(REQUEST_GAP_S)
        self._add(check, slot_at_us, Trigger.REQUEST, due_us=now_us)
        return None

    def once(self, checks: Sequence[Check], *, slot_at_us: int, now_us: int) -> str | None:
        """The coordinator asks for checks of no plan; returns why they are not taken, None when they are."""
        # A leaky bucket as one instant: the one at which it will be empty.
        empty_us = max(self._once_empty_us, now_us) + _us(len(checks) / ONCE_PER_S)
        if empty_us - now_us > _us(ONCE_BURST / ONCE_PER_S):
            return f"of checks of no plan {ONCE_BURST} are run at once, and {ONCE_PER_S:g} a second"
        self._once_empty_us = empty_us
        for check in checks:
            self._add(check, slot_at_us, Trigger.REQUEST, due_us=now_us)
        return None

    def given_up(self, run: Run) -> None:
        """A run had no room or no allowance: what a failure asked for is tried again in `ANEW_S`."""
        if run.trigger is Trigger.FAILURE:
            anew_us = run.due_us + _us(ANEW_S)
            self._not_before[run.check.check_no] = _NotBefore(anew_us, anew_us)

    def next_at_us(self) -> int | None:
        """When the next run falls due; None with none to come."""
        return self._heap[0][0] if self._heap else None

    def due(self, now_us: int, *, limit: int) -> tuple[Run, ...]:
        """At most `limit` runs that have fallen due, each handed out once."""
        runs: list[Run] = []
        while len(runs) < limit and self._heap and self._heap[0][0] <= now_us:
            run = heapq.heappop(self._heap)[2]
            if run.trigger is Trigger.CONFIRMATION:
                self._pending[run.check.check_no] -= 1
            runs.append(run)
        return tuple(runs)

    def _take(self, check_no: int, *, begins: bool, now_us: int) -> bool:
        bounds = self._not_before.get(check_no)
        if bounds is not None and now_us < (bounds.anew_us if begins else bounds.again_us):
            return False
        self._not_before[check_no] = _NotBefore(now_us + _us(ANEW_S), now_us + _us(AGAIN_S))
        return True

    def _add(self, check: Check, slot_at_us: int, trigger: Trigger, *, due_us: int) -> None:
        self._serial += 1
        run = Run(check=check, slot_at_us=slot_at_us, trigger=trigger, due_us=due_us)
        heapq.heappush(self._heap, (due_us, self._serial, run))


def _aimed(trace: Check, failed: Check, row: Result) -> Check:
    """A trace goes to the address that failed, of all that its name may have.

    Not where a redirect led: what answers there is another host, perhaps at another port. The address
    of a dns row is a resolver's.
    """
    asks_the_same = (trace.host, trace.family) == (failed.host, failed.family)
    if trace.kind is not Kind.TRACE or failed.kind is Kind.DNS or not asks_the_same:
        return trace
    if row.address is None or failed.follow_redirects:
        return trace
    return replace(trace, pinned=row.address)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _failed(row: Result) -> bool | None:
    """Whether a row says that its target failed; None when it says nothing of the target."""
    if row.state is not State.MEASURED or row.validity is Validity.PROBE_FAULT:
        return None
    return row.failure is not None
