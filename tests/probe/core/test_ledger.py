from __future__ import annotations

import pytest

from probe.core.clock import ClockEstimate
from probe.core.ledger import Begun, ClockFacts, crashed, measured, not_run
from proto.model import Failure, Operation, Reason, Result, State, Trigger, Validity
from tests.fakes.ledgers import START_US, a_check, a_row

GOOD_CLOCK = ClockFacts(estimate=ClockEstimate(offset_us=40, error_us=500), stepped=False)
BAD_CLOCK = ClockFacts(estimate=ClockEstimate(offset_us=600_000_000, error_us=500), stepped=False)
STEPPED = ClockFacts(estimate=None, stepped=True)


def ledger(row: Result, *, lateness_us: int = 1000, clock: ClockFacts = GOOD_CLOCK) -> Result:
    """The row of a slot of a check every 30 s."""
    return measured(
        row,
        slot_at_us=START_US,
        begun=Begun(START_US + lateness_us, lateness_us),
        check=a_check(interval_s=30),
        clock=clock,
    )


def test_a_measured_row_gets_slot_lateness_and_clock() -> None:
    """The engine's facts are added, the runner's stay."""
    row = ledger(a_row(slot_at_us=0, rtt_us_min=42))
    assert (row.slot_at_us, row.lateness_us, row.rtt_us_min) == (START_US, 1000, 42)
    assert row.started_at_us == START_US + 1000
    assert (row.clock_offset_us, row.clock_error_us, row.validity) == (40, 500, Validity.OK)


def test_an_unknown_clock_offset_is_none() -> None:
    """Before the first session nobody knows the offset, and 0 would be a claim."""
    row = ledger(a_row(), clock=ClockFacts(estimate=None, stepped=False))
    assert (row.clock_offset_us, row.clock_error_us, row.validity) == (None, None, Validity.OK)


@pytest.mark.parametrize(
    ("row", "lateness_us", "clock", "wanted"),
    [
        (a_row(), 0, BAD_CLOCK, Validity.CLOCK_SUSPECT),
        (a_row(), 0, STEPPED, Validity.CLOCK_SUSPECT),
        (a_row(), 15_000_001, GOOD_CLOCK, Validity.LATE_START),
        (a_row(), 15_000_000, GOOD_CLOCK, Validity.OK),
        (a_row(), 20_000_000, BAD_CLOCK, Validity.CLOCK_SUSPECT),
        (
            a_row(operation=Operation.CONNECT, failure=Failure.LOCAL_NO_ROUTE),
            20_000_000,
            BAD_CLOCK,
            Validity.PROBE_FAULT,
        ),
        (a_row(operation=Operation.CONNECT, failure=Failure.TIMEOUT), 0, GOOD_CLOCK, Validity.OK),
        (a_row(validity=Validity.PROBE_FAULT), 0, BAD_CLOCK, Validity.PROBE_FAULT),
    ],
)
def test_the_gravest_doubt_is_the_validity(
    row: Result, lateness_us: int, clock: ClockFacts, wanted: Validity
) -> None:
    """A fault of the probe outweighs its clock, its clock outweighs a late start."""
    assert ledger(row, lateness_us=lateness_us, clock=clock).validity is wanted


def test_a_slot_not_run_says_nothing_of_the_target() -> None:
    """It has a reason and neither address, attempts nor start."""
    row = not_run(a_check(7, family=6), slot_at_us=START_US, reason=Reason.OVERLOADED)
    assert (row.check_no, row.family, row.state, row.reason) == (
        7,
        6,
        State.NOT_RUN,
        Reason.OVERLOADED,
    )
    assert (row.started_at_us, row.address, row.sent, row.failure) == (None, None, 0, None)


def test_a_row_says_what_made_it() -> None:
    """Scheduled unless said otherwise."""
    assert ledger(a_row()).trigger is Trigger.SCHEDULE
    row = not_run(
        a_check(), slot_at_us=START_US, reason=Reason.POLICY, trigger=Trigger.CONFIRMATION
    )
    assert row.trigger is Trigger.CONFIRMATION


def test_a_row_says_what_the_kernel_thinks_of_its_clock() -> None:
    """An undisciplined clock is told, not judged; unknown stays unknown."""
    for said in (True, False, None):
        facts = ClockFacts(estimate=None, stepped=False, synchronised=said)
        row = ledger(a_row(), clock=facts)
        assert (row.clock_synchronised, row.validity) == (said, Validity.OK)


def test_a_crash_is_no_failure_of_the_target() -> None:
    """A run that a defect of ours ended is the probe's fault."""
    row = crashed(a_check(7))
    assert (row.check_no, row.state) == (7, State.MEASURED)
    assert (row.operation, row.failure) == (Operation.CONNECT, Failure.UNKNOWN)
    assert row.validity is Validity.PROBE_FAULT
