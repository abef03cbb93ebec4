from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from probe.core.schedule import Schedule, Turn, interval_us
from proto import slots
from proto.model import Check, Reason
from tests.fakes.ledgers import START_US, a_check

PROBE = "probe-1"
INTERVALS_S = (0.2, 1.0, 7.0, 30.0)


def grid(check: Check, first_us: int, end_us: int, *, era: int = 0) -> list[int]:
    """Every slot of a check in [first, end), counted out one by one."""
    step_us = interval_us(check)
    phase = slots.phase_us(PROBE, check.check_no, step_us) + era
    at_us = slots.first_slot_us(first_us, interval_us=step_us, phase=phase)
    return list(range(at_us, end_us, step_us))


def named(turn: Turn) -> list[tuple[int, int]]:
    """(check_no, slot_at_us) of everything that a turn handed out."""
    started = [(slot.check.check_no, slot.slot_at_us) for slot in turn.start]
    missed = [(slot.check.check_no, slot.slot_at_us) for gap in turn.missed for slot in gap.slots()]
    return started + missed


checks_st = st.lists(st.sampled_from(INTERVALS_S), min_size=1, max_size=5).map(
    lambda intervals: [a_check(i, interval_s=s) for i, s in enumerate(intervals)]
)
naps_st = st.lists(st.integers(min_value=0, max_value=90_000_000), max_size=12)


@given(checks=checks_st, naps=naps_st)
def test_every_slot_appears_exactly_once(checks: list[Check], naps: list[int]) -> None:
    """However late the looks come, the slots handed out are the grid, each once."""
    schedule = Schedule(PROBE, now_us=START_US)
    schedule.adopt(checks)
    now_us, seen = START_US, Counter[tuple[int, int]]()
    for nap in naps:
        now_us += nap
        seen.update(named(schedule.due(now_us)))
    wanted = [(c.check_no, at) for c in checks for at in grid(c, START_US, now_us + 1)]
    assert seen == Counter(wanted) if naps else not seen


@given(first=checks_st, second=checks_st, cut=st.integers(0, 60_000_000), naps=naps_st)
def test_a_plan_change_splits_the_grid_at_one_instant(
    first: list[Check], second: list[Check], cut: int, naps: list[int]
) -> None:
    """Slots up to the change are those of the old plan, later ones those of the new plan."""
    schedule = Schedule(PROBE, now_us=START_US)
    schedule.adopt(first)
    change_us = START_US + cut
    seen = Counter(named(schedule.due(change_us)))
    schedule.adopt(second)
    now_us = change_us
    for nap in naps:
        now_us += nap
        seen.update(named(schedule.due(now_us)))
    wanted = [(c.check_no, at) for c in first for at in grid(c, START_US, change_us + 1)]
    wanted += [(c.check_no, at) for c in second for at in grid(c, change_us + 1, now_us + 1)]
    assert seen == Counter(wanted)


@given(checks=checks_st, back=st.integers(3_000_000, 600_000_000), ahead=naps_st)
def test_no_slot_is_named_twice_after_a_large_step_back(
    checks: list[Check], back: int, ahead: list[int]
) -> None:
    """A new era runs the same hour again on a grid of its own, complete and without a repeat."""
    schedule = Schedule(PROBE, now_us=START_US)
    schedule.adopt(checks)
    seen = Counter(named(schedule.due(START_US + 120_000_000)))
    now_us = START_US + 120_000_000 - back
    begun_us = now_us
    schedule.restart(now_us=now_us, era=1)
    for nap in ahead:
        now_us += nap
        seen.update(named(schedule.due(now_us)))
    wanted = [(c.check_no, at) for c in checks for at in grid(c, START_US, START_US + 120_000_001)]
    if ahead:
        wanted += [(c.check_no, at) for c in checks for at in grid(c, begun_us, now_us + 1, era=1)]
    assert seen == Counter(wanted)
    assert max(seen.values(), default=0) <= 1


def test_only_the_latest_slot_is_run_and_older_ones_are_overloaded() -> None:
    """A loop that was starved for three intervals does not bunch three runs up."""
    check = a_check(interval_s=10)
    schedule = Schedule(PROBE, now_us=START_US)
    schedule.adopt([check])
    first_us = schedule.next_at_us()
    assert first_us is not None
    turn = schedule.due(first_us + 35_000_000)
    assert [slot.slot_at_us for slot in turn.start] == [first_us + 30_000_000]
    assert [(gap.count, gap.reason) for gap in turn.missed] == [(3, Reason.OVERLOADED)]


def test_slots_that_the_clock_jumped_over_are_stopped() -> None:
    """A suspend is told from a starved loop: the monotonic clock did not run either."""
    check = a_check(interval_s=10)
    schedule = Schedule(PROBE, now_us=START_US)
    schedule.adopt([check])
    first_us = schedule.next_at_us()
    assert first_us is not None
    now_us = first_us + 95_000_000
    turn = schedule.due(now_us, jumped_us=now_us - first_us - 15_000_000)
    reasons = [(gap.first_slot_at_us - first_us, gap.count, gap.reason) for gap in turn.missed]
    assert reasons == [(0, 2, Reason.OVERLOADED), (20_000_000, 7, Reason.STOPPED)]


def test_a_jump_backwards_stops_no_slot() -> None:
    """A small step back that was waited out leaves late slots overloaded."""
    schedule = Schedule(PROBE, now_us=START_US)
    schedule.adopt([a_check(interval_s=1)])
    turn = schedule.due(START_US + 5_000_000, jumped_us=-60_000)
    assert {gap.reason for gap in turn.missed} == {Reason.OVERLOADED}


def test_no_checks_fall_never_due() -> None:
    """An empty plan has no next slot and no due ones."""
    schedule = Schedule(PROBE, now_us=START_US)
    schedule.adopt([])
    assert schedule.next_at_us() is None
    assert schedule.due(START_US + 10**9) == Turn((), ())


def test_a_fleet_is_spread_over_the_interval() -> None:
    """Of 300 probes no two hundredth of the interval holds more than a few."""
    firsts = []
    for number in range(300):
        schedule = Schedule(f"probe-{number}", now_us=START_US)
        schedule.adopt([a_check(interval_s=30)])
        first_us = schedule.next_at_us()
        assert first_us is not None
        firsts.append((first_us - START_US) * 50 // 30_000_000)
    assert max(Counter(firsts).values()) <= 18
    assert len(set(firsts)) >= 45


def test_a_gap_gives_its_newest_slots() -> None:
    """Of a gap too long to list the latest slots are kept."""
    schedule = Schedule(PROBE, now_us=START_US)
    schedule.adopt([a_check(interval_s=1)])
    (gap,) = schedule.due(START_US + 100_000_000).missed
    slots_of_gap = [slot.slot_at_us for slot in gap.slots()]
    assert [slot.slot_at_us for slot in gap.newest(3).slots()] == slots_of_gap[-3:]
    assert gap.newest(10**6) == gap
