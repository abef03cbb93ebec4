from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from probe.core.triggers import (
    AGAIN_S,
    ANEW_S,
    LATE_MAX_US,
    ONCE_BURST,
    ONCE_PER_S,
    REQUEST_GAP_S,
    Run,
    Triggers,
)
from proto.model import Check, Failure, Kind, Operation, Reason, Result, State, Trigger, Validity
from tests.fakes.ledgers import START_US, a_check, a_row

SECOND_US = 1_000_000
TRACE = a_check(9, interval_s=0)
CONFIRMED = a_check(1, confirm_after_s=(3.0, 10.0))
TRACED = a_check(2, on_failure=(9,))

GOOD = a_row()
BAD = a_row(operation=Operation.CONNECT, failure=Failure.TIMEOUT)
OURS = replace(BAD, validity=Validity.PROBE_FAULT, failure=Failure.LOCAL_NO_ROUTE)
NOT_RUN = a_row(state=State.NOT_RUN, reason=Reason.OVERLOADED, started_at_us=None, sent=0)


def following(*checks: Check) -> Triggers:
    """The triggers of a plan."""
    triggers = Triggers()
    triggers.adopt(checks)
    return triggers


def taken(triggers: Triggers, now_s: float) -> list[Run]:
    """All that has fallen due."""
    return list(triggers.due(round(now_s * SECOND_US), limit=1000))


def fail(triggers: Triggers, check: Check, now_s: float, row: Result = BAD) -> bool:
    """A scheduled attempt ended, its slot `now_s` after the start."""
    at_us = round(now_s * SECOND_US)
    return triggers.settled(check, replace(row, slot_at_us=START_US + at_us), now_us=at_us)


def test_a_failed_attempt_is_made_again_with_its_slot() -> None:
    """Three and ten seconds after it ended, and not before."""
    triggers = following(CONFIRMED)
    assert fail(triggers, CONFIRMED, 100)
    assert taken(triggers, 102.9) == []
    assert triggers.next_at_us() == 103 * SECOND_US
    first, second = taken(triggers, 103) + taken(triggers, 110)
    assert {first.trigger, second.trigger} == {Trigger.CONFIRMATION}
    assert {first.slot_at_us, second.slot_at_us} == {START_US + 100 * SECOND_US}
    assert (first.due_us, second.due_us) == (103 * SECOND_US, 110 * SECOND_US)
    assert triggers.next_at_us() is None


def test_a_target_that_stays_down_is_asked_no_more_often() -> None:
    """Only where a failure begins is the attempt made again."""
    triggers = following(CONFIRMED)
    assert fail(triggers, CONFIRMED, 0)
    assert not any(fail(triggers, CONFIRMED, now_s) for now_s in range(30, 600, 30))
    assert len(taken(triggers, 600)) == 2
    assert not fail(triggers, CONFIRMED, 600, GOOD)
    assert fail(triggers, CONFIRMED, 630)


def test_one_series_is_to_come_at_a_time() -> None:
    """A check that fails and recovers every second is not tried again on top of that."""
    triggers = following(CONFIRMED)
    for second in range(10):
        fail(triggers, CONFIRMED, second, GOOD if second % 2 else BAD)
    assert len(taken(triggers, 10)) == 2
    fail(triggers, CONFIRMED, 11)
    assert triggers.next_at_us() == 14 * SECOND_US


def test_rows_that_say_nothing_of_the_target_begin_and_end_nothing() -> None:
    """Neither this machine's own fault nor a slot that was not run."""
    triggers = following(CONFIRMED)
    assert not fail(triggers, CONFIRMED, 0, OURS)
    assert not fail(triggers, CONFIRMED, 1, NOT_RUN)
    assert fail(triggers, CONFIRMED, 2)
    taken(triggers, 20)
    fail(triggers, CONFIRMED, 30, OURS)
    assert not fail(triggers, CONFIRMED, 60)


def test_a_failure_asks_for_other_checks_at_once() -> None:
    """With the slot that failed, so that the rows can be joined."""
    triggers = following(TRACED, TRACE)
    assert fail(triggers, TRACED, 5)
    (run,) = taken(triggers, 5)
    assert (run.check, run.trigger) == (TRACE, Trigger.FAILURE)
    assert run.slot_at_us == START_US + 5 * SECOND_US


def aimed(failed: Check, row: Result = BAD, **trace: Any) -> str | None:
    """Where the trace that this failure asks for is pinned to."""
    triggers = following(failed, a_check(9, kind=Kind.TRACE, interval_s=0, **trace))
    assert fail(triggers, failed, 0, row)
    return taken(triggers, 0)[0].check.pinned


def test_a_trace_goes_to_the_address_that_failed() -> None:
    """Of several that a name has, the one in the row; only that of the check's own target counts."""
    assert aimed(TRACED) == BAD.address
    assert aimed(TRACED, pinned=BAD.address) == BAD.address
    assert aimed(TRACED, replace(BAD, address=None)) is None
    assert aimed(TRACED, family=6) is None
    assert aimed(TRACED, host="other.test") is None
    assert aimed(replace(TRACED, kind=Kind.DNS)) is None
    assert aimed(replace(TRACED, follow_redirects=1)) is None
    # Whatever else a failure asks for keeps its own aim.
    fail(triggers := following(TRACED, TRACE), TRACED, 0)
    assert taken(triggers, 0)[0].check == TRACE


def test_checks_that_fail_together_trace_once() -> None:
    """Six checks of one component name the same trace."""
    checks = [a_check(number, on_failure=(9,)) for number in range(6)]
    triggers = following(*checks, TRACE)
    asked = [fail(triggers, check, number) for number, check in enumerate(checks)]
    assert asked == [True, False, False, False, False, False]


def test_a_long_failure_is_traced_every_ten_minutes() -> None:
    """An outage of a day is 144 traces, not 2,880."""
    triggers = following(TRACED, TRACE)
    asked = sum(fail(triggers, TRACED, now_s) for now_s in range(0, 86_400, 30))
    assert asked == 86_400 / AGAIN_S


def test_a_failure_that_begins_anew_is_traced_sooner() -> None:
    """After a minute it may be another failure."""
    triggers = following(TRACED, TRACE)
    assert fail(triggers, TRACED, 0)
    fail(triggers, TRACED, 10, GOOD)
    assert not fail(triggers, TRACED, ANEW_S - 1)
    fail(triggers, TRACED, ANEW_S, GOOD)
    assert fail(triggers, TRACED, ANEW_S + 10)


def test_a_trace_without_room_is_tried_again_in_a_minute() -> None:
    """What was given up has not been seen; other triggers have no next time."""
    triggers = following(TRACED, TRACE)
    fail(triggers, TRACED, 0)
    (run,) = taken(triggers, 0)
    triggers.given_up(run)
    assert not fail(triggers, TRACED, ANEW_S - 1)
    assert fail(triggers, TRACED, ANEW_S)
    assert triggers.request(9, slot_at_us=START_US, now_us=0) is None
    triggers.given_up(taken(triggers, ANEW_S)[0])
    assert not fail(triggers, TRACED, 2 * ANEW_S)


def test_the_coordinator_may_ask_for_what_the_plan_holds() -> None:
    """Once in ten seconds per check, and for nothing else."""
    triggers = following(TRACED, TRACE)

    def ask(check_no: int, now_s: float) -> str | None:
        return triggers.request(check_no, slot_at_us=START_US, now_us=round(now_s * SECOND_US))

    assert ask(9, 0) is None
    assert "once in" in str(ask(9, REQUEST_GAP_S - 1))
    assert ask(2, 1) is None
    assert "no such check" in str(ask(7, 1))
    assert ask(9, REQUEST_GAP_S) is None
    runs = taken(triggers, 20)
    assert [(run.check.check_no, run.trigger) for run in runs] == [
        (9, Trigger.REQUEST),
        (2, Trigger.REQUEST),
        (9, Trigger.REQUEST),
    ]
    assert {run.slot_at_us for run in runs} == {START_US}


def test_checks_of_no_plan_run_once() -> None:
    """So many at once and so many a second; they are unknown to the plan before and after."""
    triggers = following(TRACED)
    other = replace(TRACE, check_no=77)

    def ask(now_s: float) -> str | None:
        return triggers.once(
            [other] * ONCE_BURST, slot_at_us=START_US, now_us=round(now_s * SECOND_US)
        )

    assert ask(0) is None
    assert "a second" in str(ask(ONCE_BURST / ONCE_PER_S - 0.01))
    assert ask(ONCE_BURST / ONCE_PER_S) is None
    assert len(taken(triggers, 20)) == 2 * ONCE_BURST
    assert "no such check" in str(triggers.request(77, slot_at_us=START_US, now_us=0))


def test_a_plan_change_drops_what_was_to_come() -> None:
    """What is known of its checks stays: a failure that lasts is not a new one."""
    triggers = following(CONFIRMED, TRACED, TRACE)
    fail(triggers, CONFIRMED, 0)
    fail(triggers, TRACED, 0)
    triggers.request(9, slot_at_us=START_US, now_us=0)
    triggers.adopt([CONFIRMED, TRACED, TRACE])
    assert triggers.next_at_us() is None
    assert not fail(triggers, CONFIRMED, 30)
    assert not fail(triggers, TRACED, 30)
    assert triggers.request(9, slot_at_us=START_US, now_us=0) is not None
    triggers.adopt([])
    triggers.adopt([CONFIRMED, TRACED, TRACE])
    assert triggers.request(9, slot_at_us=START_US, now_us=0) is None
    assert fail(triggers, CONFIRMED, 60)
    assert fail(triggers, TRACED, 60)


def test_a_run_of_an_older_plan_asks_for_nothing() -> None:
    """The check that it ran is no longer what the plan says."""
    triggers = following(replace(CONFIRMED, host="other.test"))
    assert not fail(triggers, CONFIRMED, 0)
    triggers.adopt([])
    assert not fail(triggers, CONFIRMED, 0)


def test_due_runs_come_in_portions_and_may_be_too_late() -> None:
    """The loop reads sockets in between; a second later the moment is lost."""
    triggers = following(*(a_check(number) for number in range(5)))
    for number in range(5):
        triggers.request(number, slot_at_us=START_US, now_us=0)
    assert [len(triggers.due(0, limit=2)) for _ in range(4)] == [2, 2, 1, 0]
    run = Run(check=TRACE, slot_at_us=START_US, trigger=Trigger.REQUEST, due_us=7)
    assert not run.too_late(7 + LATE_MAX_US)
    assert run.too_late(8 + LATE_MAX_US)


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from([GOOD, BAD, OURS]), st.floats(0, 200)),
        max_size=60,
    )
)
def test_triggers_are_bounded_whatever_fails(steps: list[tuple[int, Result, float]]) -> None:
    """No check has two series to come, no trace runs twice in a minute, every run is handed out once."""
    checks = [a_check(number, confirm_after_s=(3.0, 10.0), on_failure=(9,)) for number in range(5)]
    triggers = following(*checks, TRACE)
    now_s, runs = 0.0, list[Run]()
    for check_no, row, nap_s in steps:
        now_s += nap_s
        runs += taken(triggers, now_s)
        fail(triggers, checks[check_no], now_s, row)
    runs += taken(triggers, now_s + 60)
    traces = [run.due_us for run in runs if run.trigger is Trigger.FAILURE]
    assert all(b - a >= ANEW_S * SECOND_US - 1 for a, b in itertools.pairwise(traces))
    for check in checks:
        series = [run.slot_at_us for run in runs if run.check == check]
        assert series == sorted(series)
        assert len(series) == 2 * len(set(series))
        starts = sorted(set(series))
        apart = [b - a for a, b in itertools.pairwise(starts)]
        assert all(gap >= 10 * SECOND_US - 1 for gap in apart)
    assert triggers.next_at_us() is None
