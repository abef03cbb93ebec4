from __future__ import annotations

import pytest

from probe.core.clock import ClockEstimate
from probe.core.ledger import Begun, ClockFacts, crashed, measured, not_run
from proto.codec import report_to_wire
from proto.columns import APART_US_MAX, COUNT_MAX, TIME_US_MAX
from proto.model import (
    Failure,
    Hop,
    Operation,
    Reason,
    Report,
    Result,
    State,
    Trigger,
    Validity,
)
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


@pytest.mark.parametrize(
    "name", ["rtt_us_max", "resolve_us", "connect_us", "tls_us", "first_byte_us", "total_us"]
)
def test_a_run_that_the_machine_slept_through_has_no_times(name: str) -> None:
    """A process that was stopped for hours blames nobody, and its row can be stored."""
    hop = Hop(ttl=1, packet=0, router=None, rtt_us=2**33, icmp_type=None, icmp_code=None)
    slept = ledger(a_row(rtt_us_min=7, hops=(hop,), **{name: 2 * 3600 * 10**6}))
    assert (slept.validity, slept.hops, slept.rtt_us_min) == (Validity.PROBE_FAULT, (), None)
    assert getattr(slept, name) is None
    assert report_to_wire(Report((slept,), ()))
    longest = ledger(a_row(**{name: TIME_US_MAX}))
    assert (longest.validity, getattr(longest, name)) == (Validity.OK, TIME_US_MAX)


def test_a_flood_of_duplicates_is_counted_as_far_as_a_row_can() -> None:
    """One number beyond its column would cost all rows of the report."""
    assert ledger(a_row(duplicates=10**6)).duplicates == COUNT_MAX


@pytest.mark.parametrize("apart_us", [APART_US_MAX + 1, -APART_US_MAX - 1])
def test_a_run_across_a_clock_that_was_set_by_days_is_none(apart_us: int) -> None:
    """Slot and start are of two calendars: nothing was measured at that slot."""
    row = ledger(a_row(), lateness_us=apart_us)
    assert (row.state, row.reason, row.slot_at_us) == (State.NOT_RUN, Reason.STOPPED, START_US)
    assert (row.started_at_us, row.sent) == (None, 0)


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
