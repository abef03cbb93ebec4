"""From what one run learned to its row: validity, lateness and the clock's own error.

Every slot handed out by the schedule, and every run beside it that came due, ends here as exactly
one row, measured or not run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from probe.core.clock import ClockEstimate
from probe.core.outcome import blank_row, first_operation
from probe.core.rows import changed
from proto.model import Check, Failure, Reason, Result, State, Trigger, Validity


class Begun(NamedTuple):
    """The start of a run, by the wall clock, and how late it was."""

    at_us: int
    lateness_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockFacts:
    """What was known of the wall clock while a check ran."""

    estimate: ClockEstimate | None
    stepped: bool  # the wall clock jumped between slot and end
    synchronised: bool | None = None  # None: the kernel would not say


def measured(
    result: Result,
    *,
    slot_at_us: int,
    begun: Begun,
    check: Check,
    clock: ClockFacts,
    trigger: Trigger = Trigger.SCHEDULE,
) -> Result:
    """The row of a slot that was run; a row that the runner itself declared not run stays so."""
    estimate = clock.estimate
    return changed(
        result,
        slot_at_us=slot_at_us,
        started_at_us=begun.at_us if result.reason is None else None,
        lateness_us=begun.lateness_us,
        clock_offset_us=None if estimate is None else estimate.offset_us,
        clock_error_us=None if estimate is None else estimate.error_us,
        clock_synchronised=clock.synchronised,
        validity=_validity(result, lateness_us=begun.lateness_us, check=check, clock=clock),
        trigger=trigger,
    )


def crashed(check: Check) -> Result:
    """The row of a run that a defect of ours ended: it says nothing of the target, and says so."""
    return changed(
        blank_row(check),
        operation=first_operation(check),
        failure=Failure.UNKNOWN,
        validity=Validity.PROBE_FAULT,
    )


def not_run(
    check: Check, *, slot_at_us: int, reason: Reason, trigger: Trigger = Trigger.SCHEDULE
) -> Result:
    """The row of a slot that was not run: it says nothing of the target, and says so."""
    return Result(
        check_no=check.check_no,
        slot_at_us=slot_at_us,
        started_at_us=None,
        state=State.NOT_RUN,
        reason=reason,
        port=check.port,
        family=check.family,
        trigger=trigger,
    )


def _validity(result: Result, *, lateness_us: int, check: Check, clock: ClockFacts) -> Validity:
    """The gravest doubt wins: a probe's own fault, then the clock, then a late start."""
    if result.failure is not None and result.failure.is_local:
        return Validity.PROBE_FAULT
    if result.validity is not Validity.OK:
        return result.validity
    if clock.stepped or (clock.estimate is not None and clock.estimate.suspect):
        return Validity.CLOCK_SUSPECT
    if check.interval_s and lateness_us * 2 > check.interval_s * 1_000_000:
        return Validity.LATE_START
    return Validity.OK
