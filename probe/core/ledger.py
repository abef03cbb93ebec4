"""From what one run learned to its row: validity, lateness and the clock's own error.

Every slot handed out by the schedule, and every run beside it that came due, ends here as exactly
one row, measured or not run.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, NamedTuple

from probe.core.clock import ClockEstimate
from probe.core.outcome import blank_row, first_operation
from probe.core.rows import changed
from proto.columns import APART_US_MAX, COUNT_MAX, TIME_US_MAX
from proto.model import Check, Failure, Reason, Result, State, Trigger, Validity

_TIMES: Final = (
    *("rtt_us_max", "resolve_us", "connect_us", "tls_us", "first_byte_us", "total_us"),
)
_times_of = attrgetter(*_TIMES)
_WITHIN: Final = ("rtt_us_min", "rtt_us_median", "stamp_source")  # of an rtt_us_max


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
    if result.reason is None and abs(begun.at_us - slot_at_us) > APART_US_MAX:
        # The wall clock was set in between, by more than anything can be said of.
        return not_run(check, slot_at_us=slot_at_us, reason=Reason.STOPPED, trigger=trigger)
    estimate = clock.estimate
    result = _without_impossible(result)
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


def _without_impossible(result: Result) -> Result:
    """A row without times that no check takes, and without counts beyond what a row holds.

    This process stood still while the check ran (a stopped machine, a frozen container), so that its
    times say nothing; and a coordinator refuses a report, with all its rows, for one such number.
    """
    if result.duplicates is not None and result.duplicates > COUNT_MAX:
        result = changed(result, duplicates=COUNT_MAX)
    if all(time is None or time <= TIME_US_MAX for time in _times_of(result)):
        return result
    none: dict[str, Any] = dict.fromkeys((*_TIMES, *_WITHIN))
    return changed(result, hops=(), validity=Validity.PROBE_FAULT, **none)


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
