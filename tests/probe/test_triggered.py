from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from probe.core.outcome import Outcome
from probe.engine import STARTS_PER_TURN
from proto.model import (
    Check,
    Failure,
    HostLimits,
    Kind,
    Operation,
    Reason,
    Result,
    State,
    Trigger,
    Validity,
)
from tests.fakes.ledgers import START_US, a_check
from tests.probe.test_engine import ROOMY, World, good, lasting, live, pass_time

SECOND_US = 1_000_000
TRACE = a_check(9, kind=Kind.TCP, interval_s=0)


def bad(check: Check, failure: Failure = Failure.TIMEOUT) -> Outcome:
    """A failed row of this check, without slot."""
    row = replace(good(check).result, operation=Operation.CONNECT, failure=failure, lost=1)
    return Outcome(result=row, attempts=())


def failing(*check_nos: int, lasting_s: float = 0.0) -> Callable[[Check], Awaitable[Outcome]]:
    """A runner to which these targets are down."""

    async def run(check: Check) -> Outcome:
        await lasting(lasting_s)(check)
        return bad(check) if check.check_no in check_nos else good(check)

    return run


def beside(world: World) -> list[Result]:
    """The rows that no slot made."""
    return [row for row in world.rows if row.trigger is not Trigger.SCHEDULE]


def scheduled(world: World) -> list[Result]:
    """The rows of slots."""
    return [row for row in world.rows if row.trigger is Trigger.SCHEDULE]


async def test_a_failed_attempt_is_confirmed_after_it_ended(autojump_clock: MockClock) -> None:
    """Three and ten seconds after its end, with its slot, a start and a lateness of their own."""
    world = World(script=failing(1, lasting_s=2))
    await live(world, 100, [a_check(1, interval_s=30, confirm_after_s=(3, 10))])
    slot_us = min(world.slots())
    rows = beside(world)
    assert [row.trigger for row in rows] == [Trigger.CONFIRMATION] * 2
    assert {row.slot_at_us for row in rows} == {slot_us}
    after_s = [((row.started_at_us or 0) - slot_us) / SECOND_US for row in rows]
    assert [round(seconds) for seconds in after_s] == [5, 12]
    assert max(row.lateness_us or 0 for row in rows) < 2000
    assert {row.failure for row in rows} == {Failure.TIMEOUT}
    assert {row.validity for row in rows} == {Validity.OK}
    assert len(scheduled(world)) in {3, 4}


async def test_a_failure_runs_what_the_plan_names(autojump_clock: MockClock) -> None:
    """At once, with the slot that failed; without a slot of its own it never runs otherwise."""
    world = World(script=failing(1))
    await live(world, 1300, [a_check(1, interval_s=30, on_failure=(9,)), TRACE])
    rows = beside(world)
    assert [(row.check_no, row.trigger) for row in rows] == [(9, Trigger.FAILURE)] * 3
    slots = world.slots(1)
    assert [row.slot_at_us for row in rows] == [slots[0], slots[20], slots[40]]
    assert all((row.started_at_us or 0) - row.slot_at_us < 10_000 for row in rows)


async def test_what_the_machine_itself_did_wrong_triggers_nothing(
    autojump_clock: MockClock,
) -> None:
    """A local failure says nothing of the target."""

    async def run(check: Check) -> Outcome:
        await trio.lowlevel.checkpoint()
        return bad(check, Failure.LOCAL_NO_ROUTE)

    world = World(script=run)
    await live(world, 60, [a_check(1, interval_s=5, confirm_after_s=(3,), on_failure=(9,)), TRACE])
    assert beside(world) == []


async def test_the_coordinator_asks_and_is_bounded(autojump_clock: MockClock) -> None:
    """One run in ten seconds, at once, and nothing that the plan does not hold."""
    world = World()
    world.engine.adopt([TRACE])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        await pass_time(5.5)
        for check_no in (9, 9, 7):
            world.engine.request(check_no)
        await pass_time(10)
        world.engine.request(9)
        await pass_time(1)
        world.engine.stop()
    assert [(row.check_no, row.trigger) for row in world.rows] == [(9, Trigger.REQUEST)] * 2
    first, second = (row.slot_at_us - START_US for row in world.rows)
    assert (first, second) == (5_500_000, 15_500_000)
    assert {row.lateness_us for row in world.rows} == {0}


async def test_checks_of_no_plan_are_measured_once(autojump_clock: MockClock) -> None:
    """Each has one row at the instant of the request; the plan's slots are what they were."""
    world = World()
    plan = a_check(1, interval_s=5)
    once = [a_check(77, interval_s=0), a_check(78, interval_s=0)]
    await live(world, 12, [plan])
    alone = [row.slot_at_us for row in world.rows]
    world = World()
    world.engine.adopt([plan])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        await pass_time(5.5)
        world.engine.once(once)
        world.engine.once(once * 25)
        await pass_time(6.5)
        world.engine.stop()
    rows = [row for row in world.rows if row.trigger is Trigger.REQUEST]
    assert sorted((row.check_no, row.slot_at_us - START_US) for row in rows) == [
        (77, 5_500_000),
        (78, 5_500_000),
    ]
    assert [row.slot_at_us for row in world.rows if row.trigger is Trigger.SCHEDULE] == alone


async def test_what_was_asked_for_and_cannot_run_says_why(autojump_clock: MockClock) -> None:
    """One row, like a slot: unsupported here, or beyond half of the operator's rate."""
    world = World(missing=frozenset({Kind.ICMP}), limits=replace(ROOMY, per_target_per_minute=1))
    echo = a_check(8, kind=Kind.ICMP, port=None, interval_s=0)
    world.engine.adopt([echo, TRACE])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        world.engine.request(8)
        world.engine.request(9)
        await pass_time(1)
        world.engine.stop()
    assert [(row.check_no, row.reason, row.trigger) for row in world.rows] == [
        (8, Reason.UNSUPPORTED, Trigger.REQUEST),
        (9, Reason.POLICY, Trigger.REQUEST),
    ]


async def test_a_limit_that_keeps_a_trace_from_ever_running_is_said_with_its_fix(
    autojump_clock: MockClock,
) -> None:
    """Once, when the plan comes; each run that a failure asks for ends as `policy`."""
    trace = a_check(9, kind=Kind.TRACE, packets=3, interval_s=0)
    asking = a_check(1, interval_s=30, on_failure=(9,))
    for per_minute, told in ((23, 1), (24, 0)):
        limits = replace(ROOMY, per_target_per_minute=per_minute)
        with capture_logs() as logs:
            world = World(script=failing(1), limits=limits)
            await live(world, 20, [asking, trace])
        notes = [log for log in logs if log["event"] == "triggered_never_runs"]
        assert len(notes) == told
        assert all("per_target_per_minute, which is 23; 24 is the least" in n["fix"] for n in notes)
        assert [row.reason for row in beside(world)] == [Reason.POLICY if told else None]


async def test_a_triggered_contact_leaves_an_address_half_its_rate(
    autojump_clock: MockClock,
) -> None:
    """Where a name or a redirect led is counted for the one who went there."""
    allowed: dict[int, list[bool]] = {}

    async def run(check: Check) -> Outcome:
        await trio.lowlevel.checkpoint()
        allowed[check.check_no] = [world.engine.may_contact("192.0.2.1") for _ in range(3)]
        return bad(check)

    world = World(script=run, limits=replace(ROOMY, per_target_per_minute=6))
    await live(world, 2, [a_check(1, interval_s=1.5, host="a", on_failure=(9,)), TRACE])
    assert allowed[1] == [True, True, True]
    assert allowed[9] == [False, False, False]


async def test_a_trace_is_charged_for_its_packets_at_the_address(autojump_clock: MockClock) -> None:
    """Of 60 a minute a trace of 192 packets takes 24, another check one."""
    allowed: dict[int, list[bool]] = {}

    async def run(check: Check) -> Outcome:
        await trio.lowlevel.checkpoint()
        contacts = [world.engine.may_contact("192.0.2.1") for _ in range(3)]
        allowed.setdefault(check.check_no, contacts)
        return good(check)

    world = World(script=run, limits=replace(ROOMY, per_target_per_minute=60))
    trace = a_check(1, kind=Kind.TRACE, packets=3, max_hops=64, interval_s=1)
    await live(world, 1.5, [trace])
    assert allowed[1][:2] == [True, True]
    world = World(script=run, limits=replace(ROOMY, per_target_per_minute=60))
    await live(world, 1.5, [a_check(2, interval_s=1)])
    assert (allowed[1][2], allowed[2]) == (False, [True] * 3)


async def test_a_plan_change_or_a_stop_drops_what_was_to_come(autojump_clock: MockClock) -> None:
    """Nothing of it is queued, and nothing leaves a row."""
    check = a_check(1, interval_s=30, confirm_after_s=(40,))
    world = World(script=failing(1))
    world.engine.adopt([check])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        await pass_time(35)
        world.engine.adopt([check])
        await pass_time(100)
        world.engine.stop()
    assert beside(world) == []
    world = World(script=failing(1))
    await live(world, 35, [check])
    assert beside(world) == []


async def test_what_runs_beside_gives_way_to_a_slot(autojump_clock: MockClock) -> None:
    """With room for one, the slot starts on time and the other says that it was given up."""

    async def run(check: Check) -> Outcome:
        return await lasting(60 if check.check_no == 9 else 0.1)(check)

    world = World(script=run, limits=replace(ROOMY, concurrent=1))
    world.engine.adopt([a_check(1, interval_s=10), TRACE])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        await pass_time(3)
        world.engine.request(9)
        await pass_time(27)
        world.engine.stop()
    (given_up,) = beside(world)
    assert (given_up.reason, given_up.state) == (Reason.OVERLOADED, State.NOT_RUN)
    assert {row.state for row in scheduled(world)} == {State.MEASURED}
    assert max(row.lateness_us or 0 for row in scheduled(world)) < 2000
    assert world.engine.overloaded_slots == 0


async def test_nothing_runs_beside_while_slots_wait_or_the_moment_is_past(
    autojump_clock: MockClock,
) -> None:
    """A machine with too much to do, or one that stood still, does not do more."""
    world = World(script=failing(1, 2, lasting_s=7), limits=replace(ROOMY, concurrent=1))
    checks = [a_check(number, interval_s=5, confirm_after_s=(3,)) for number in (1, 2)]
    await live(world, 60, checks)
    assert {row.reason for row in beside(world)} == {Reason.OVERLOADED}
    world = World(script=failing(1))
    world.engine.adopt([a_check(1, interval_s=600, confirm_after_s=(3,))])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        while not world.rows:
            await pass_time(1)
        autojump_clock.jump(5)
        await pass_time(1)
        world.engine.stop()
    assert [(row.reason, row.trigger) for row in beside(world)] == [
        (Reason.OVERLOADED, Trigger.CONFIRMATION)
    ]


async def test_a_free_place_is_not_for_triggers_while_a_slot_waits(
    autojump_clock: MockClock,
) -> None:
    """Handshakes have a bound of their own: whoever waits for one, nothing else is added."""
    world = World(script=lasting(7), limits=replace(ROOMY, concurrent_https=1))
    world.engine.adopt([*(a_check(n, kind=Kind.TLS, interval_s=5) for n in (1, 2)), TRACE])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        await pass_time(20)
        world.engine.request(9)
        await pass_time(1)
        world.engine.stop()
    assert [row.reason for row in beside(world)] == [Reason.OVERLOADED]


async def test_many_triggers_start_in_portions(autojump_clock: MockClock) -> None:
    """A whole vantage point that goes down confirms in turns, so that the loop breathes."""
    count = 3 * STARTS_PER_TURN
    numbers = range(count)
    world = World(script=failing(*numbers))
    checks = [a_check(number, interval_s=600, confirm_after_s=(3,)) for number in numbers]
    await live(world, 605, checks)
    assert len(beside(world)) in {count, count - 1}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Check], HostLimits, int]:
    """Some checks with triggers, limits within which the schedule needs no half, and a seed."""
    checks = [
        a_check(
            number,
            kind=draw(st.sampled_from([Kind.TCP, Kind.TLS, Kind.ICMP])),
            interval_s=draw(st.sampled_from([2.0, 3.0, 7.0, 30.0])),
            confirm_after_s=draw(st.sampled_from([(), (0.5,), (1.0, 4.0), (3.0, 10.0)])),
            on_failure=draw(st.sampled_from([(), (8,), (8, 9)])),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    beside_them = [a_check(8, kind=Kind.TLS, interval_s=0), TRACE]
    limits = HostLimits(
        checks_per_s=draw(st.sampled_from([6.0, 1e6])),
        per_target_per_minute=draw(st.sampled_from([200.0, 1e6])),
        concurrent=draw(st.integers(1, 4)),
        concurrent_https=draw(st.integers(1, 2)),
        outstanding_icmp=draw(st.integers(1, 6)),
    )
    return [*checks, *beside_them], limits, draw(st.integers(0, 2**32))


def measured_in(checks: list[Check], limits: HostLimits, seed: int) -> World:
    """Two minutes in which what fails, and for how long it takes, hangs on check and slot alone."""
    made: list[World] = []

    async def run(check: Check) -> Outcome:
        slot_us = made[0].told_us[-1]
        chance = hash((seed, check.check_no, slot_us)) % 1000
        await lasting((chance % 97) / 20)(check)
        return bad(check) if chance % 3 else good(check)

    async def live_there() -> None:
        made.append(World(script=run, limits=limits))
        await live(made[0], 120, checks)

    trio.run(live_there, clock=MockClock(autojump_threshold=0))
    return made[0]


@settings(max_examples=60, deadline=None)
@given(drawn=worlds())
def test_the_scheduled_rows_are_the_same_with_and_without_triggers(
    drawn: tuple[list[Check], HostLimits, int],
) -> None:
    """To the microsecond and the reason, however crowded: what runs beside takes nothing from slots."""
    checks, limits, seed = drawn
    plain = [replace(check, confirm_after_s=(), on_failure=()) for check in checks]
    without = measured_in(plain, limits, seed)
    triggered = measured_in(checks, limits, seed)
    assert Counter(scheduled(triggered)) == Counter(without.rows)
    assert triggered.engine.overloaded_slots == without.engine.overloaded_slots
