from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from probe.core.outcome import Done, Outcome, Start
from probe.engine import (
    GAP_ROWS_IN_ALL,
    GAP_ROWS_MAX,
    NAP_MIN_S,
    STARTS_PER_TURN,
    STOP_GRACE_S,
    Engine,
    Runner,
)
from probe.io.clock import Clocks
from proto import slots
from proto.model import (
    Certificate,
    Check,
    Failure,
    HostLimits,
    Kind,
    Reason,
    Result,
    State,
    Validity,
)
from tests.fakes.ledgers import START_US, a_check, a_row

PROBE = "probe-1"
ROOMY = HostLimits(checks_per_s=1e6, per_target_per_minute=1e6, concurrent=1000)


@dataclass
class World:
    """An engine with a scripted runner, under a virtual clock that a test moves."""

    script: Callable[[Check], Awaitable[Outcome]] | None = None
    limits: HostLimits = ROOMY
    missing: frozenset[Kind] = frozenset()
    prompt: Callable[[Check], Start | None] = lambda _check: None
    rows: list[Result] = field(default_factory=list)
    told_us: list[int] = field(default_factory=list)  # the slots that the runner was given
    wall_shift_us: int = 0
    most_running: int = 0
    running: int = 0

    def __post_init__(self) -> None:
        self.begun_us = round(trio.current_time() * 1e6)
        self.clocks = Clocks(self.wall)
        self.engine = Engine(
            PROBE,
            clocks=self.clocks,
            limits=self.limits,
            runner=Runner(run=self._run, unsupported=self._unsupported, ready=self.prompt),
            keep=self._keep,
        )

    def wall(self) -> int:
        """Virtual wall time."""
        return START_US + round(trio.current_time() * 1e6) - self.begun_us + self.wall_shift_us

    def reasons(self) -> Counter[Any]:
        """How the slots ended."""
        return Counter(row.reason or row.state for row in self.rows)

    def slots(self, check_no: int = 1) -> list[int]:
        """The slots of one check that have a row, sorted."""
        return sorted(row.slot_at_us for row in self.rows if row.check_no == check_no)

    async def _run(self, check: Check, slot_at_us: int) -> Outcome:
        self.told_us.append(slot_at_us)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        started_at_us = self.wall()
        try:
            outcome = good(check) if self.script is None else await self.script(check)
        finally:
            self.running -= 1
        return replace(outcome, result=replace(outcome.result, started_at_us=started_at_us))

    def _unsupported(self, check: Check) -> str | None:
        return "no permission" if check.kind in self.missing else None

    def _keep(self, row: Result, _certificates: Sequence[Certificate]) -> None:
        self.rows.append(row)


def good(check: Check) -> Outcome:
    """A good row of this check, without slot."""
    return Outcome(result=a_row(0, check_no=check.check_no), attempts=())


def lasting(seconds: float) -> Callable[[Check], Awaitable[Outcome]]:
    """A runner that takes a while."""

    async def run(check: Check) -> Outcome:
        with trio.move_on_after(seconds):
            await trio.sleep_forever()
        return good(check)

    return run


def grid(check: Check, first_us: int, end_us: int) -> list[int]:
    """Every slot of a check in [first, end)."""
    step_us = round(check.interval_s * 1e6)
    phase = slots.phase_us(PROBE, check.check_no, step_us)
    at_us = slots.first_slot_us(first_us, interval_us=step_us, phase=phase)
    return list(range(at_us, end_us, step_us))


async def live(world: World, seconds: float, checks: Sequence[Check]) -> None:
    """Run the engine for a while of virtual time, then stop it and let it finish."""
    world.engine.adopt(checks)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        await pass_time(seconds)
        world.engine.stop()


async def pass_time(seconds: float) -> None:
    """Virtual time: costs none."""
    with trio.move_on_after(seconds):
        await trio.sleep_forever()


async def test_hours_of_slots_end_as_one_row_each(autojump_clock: MockClock) -> None:
    """Four hours of three checks: the rows are the grid, none late, none twice."""
    world = World()
    checks = [a_check(1, interval_s=30), a_check(2, interval_s=60), a_check(3, interval_s=7)]
    await live(world, 14_400, checks)
    for check in checks:
        wanted = grid(check, START_US, START_US + 14_400_000_000 + 1)
        assert world.slots(check.check_no) == wanted
    assert world.reasons() == {State.MEASURED: len(world.rows)}
    assert {row.validity for row in world.rows} == {Validity.OK}
    assert max(row.lateness_us or 0 for row in world.rows) < 2000


async def test_a_run_is_told_its_slot(autojump_clock: MockClock) -> None:
    """What is taken in turn follows the slot that the row will name."""
    world = World()
    await live(world, 10, [a_check(interval_s=1)])
    assert world.told_us == world.slots()


async def test_slow_checks_of_one_target_may_overlap(autojump_clock: MockClock) -> None:
    """A timeout longer than the interval delays no slot."""
    world = World(script=lasting(2.5))
    await live(world, 60, [a_check(interval_s=1)])
    assert world.reasons() == {State.MEASURED: 60}
    assert world.most_running == 3


async def test_without_room_waiting_slots_are_superseded_as_overloaded(
    autojump_clock: MockClock,
) -> None:
    """One check at a time, each taking 2.7 intervals: what cannot run is said, nothing is lost."""
    world = World(script=lasting(2.7), limits=replace(ROOMY, concurrent=1))
    check = a_check(interval_s=1)
    await live(world, 100, [check])
    assert world.slots() == grid(check, START_US, START_US + 100_000_001)
    reasons = world.reasons()
    assert set(reasons) <= {State.MEASURED, Reason.OVERLOADED, Reason.STOPPED}
    assert 33 <= reasons[State.MEASURED] <= 41
    assert reasons[Reason.STOPPED] <= 1
    assert world.most_running == 1
    late = [row for row in world.rows if row.validity is Validity.LATE_START]
    assert late


async def test_the_operators_rate_is_a_policy(autojump_clock: MockClock) -> None:
    """A plan that asks a target ten times as often as allowed gets a tenth, and rows that say why."""
    world = World(limits=replace(ROOMY, per_target_per_minute=6))
    await live(world, 600, [a_check(interval_s=1)])
    reasons = world.reasons()
    assert reasons[State.MEASURED] + reasons[Reason.POLICY] == 600
    assert 60 <= reasons[State.MEASURED] <= 66


async def test_what_this_vantage_cannot_do_is_unsupported(autojump_clock: MockClock) -> None:
    """Without ICMP rights every ICMP slot has a row, and it is not a failure."""
    world = World(missing=frozenset({Kind.ICMP}))
    await live(world, 10, [a_check(1, kind=Kind.ICMP, port=None, interval_s=1)])
    assert world.reasons() == {Reason.UNSUPPORTED: 10}


async def test_a_plan_change_in_flight_loses_no_slot(autojump_clock: MockClock) -> None:
    """Slots before the change follow the old plan, later ones the new one, none twice."""
    world = World(script=lasting(0.3))
    old, new = a_check(interval_s=2), a_check(interval_s=3)
    world.engine.adopt([old])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        await pass_time(31)
        change_us = world.wall()
        since_us = world.engine.adopt([new])
        await pass_time(29)
        end_us = world.wall()
        world.engine.stop()
    wanted = grid(old, START_US, change_us + 1) + grid(new, change_us + 1, end_us + 1)
    assert world.slots() == sorted(wanted)
    assert since_us == change_us + 1


async def test_stopping_finishes_what_runs_and_names_the_rest(autojump_clock: MockClock) -> None:
    """Running checks end as measured; those beyond their grace end as stopped."""

    async def run(check: Check) -> Outcome:
        return await lasting(3 if check.check_no == 1 else 60)(check)

    world = World(script=run)
    await live(world, 10, [a_check(1, interval_s=10), a_check(2, interval_s=10)])
    assert sorted((row.check_no, row.reason) for row in world.rows) == [
        (1, None),
        (2, Reason.STOPPED),
    ]


async def test_a_run_that_ends_as_its_grace_does_has_one_row(autojump_clock: MockClock) -> None:
    """Whether the answer or the end of the patience comes first is up to the loop: never both."""
    for _ in range(20):
        answered = trio.Event()

        async def run(check: Check, answered: trio.Event = answered) -> Outcome:
            await answered.wait()
            return good(check)

        world = World(script=run)
        world.engine.adopt([a_check(number, interval_s=100) for number in range(1, 6)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.engine.run)
            await pass_time(100)
            world.engine.stop()
            await pass_time(STOP_GRACE_S)
            answered.set()
        assert [len(world.slots(number)) for number in range(1, 6)] == [1] * 5


async def test_a_suspend_ends_as_stopped_slots(autojump_clock: MockClock) -> None:
    """Ten minutes that only the wall clock saw: each slot of them has a row that says so."""
    world = World()
    check = a_check(interval_s=10)
    world.engine.adopt([check])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        await pass_time(60)
        world.wall_shift_us = 600_000_000
        await pass_time(60)
        end_us = world.wall()
        world.engine.stop()
    assert world.slots() == grid(check, START_US, end_us + 1)
    assert world.reasons()[Reason.STOPPED] in {59, 60}
    assert world.clocks.steps == 1
    stepped = [row for row in world.rows if row.validity is Validity.CLOCK_SUSPECT]
    assert len(stepped) == 1


async def test_a_large_step_back_neither_blinds_nor_doubles(autojump_clock: MockClock) -> None:
    """After ten minutes back measuring goes on at once, and no slot has two rows."""
    world = World()
    world.engine.adopt([a_check(interval_s=10)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        await pass_time(700)
        world.wall_shift_us = -600_000_000
        await pass_time(100)
        world.engine.stop()
    assert len(world.rows) in {79, 80, 81}
    assert max(Counter(world.slots()).values()) == 1


async def test_a_stopped_process_reports_its_gap_bounded(autojump_clock: MockClock) -> None:
    """Hours of SIGSTOP with a short interval give the newest rows and one line, not millions."""
    world = World()
    check = a_check(interval_s=1)
    world.engine.adopt([check])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.engine.run)
        await pass_time(5)
        autojump_clock.jump(7200)
        await pass_time(1)
        world.engine.stop()
    overloaded = world.reasons()[Reason.OVERLOADED]
    assert overloaded == GAP_ROWS_MAX
    assert world.slots() == sorted(set(world.slots()))


async def test_a_machine_that_slept_for_a_night_is_soon_at_work_again(
    autojump_clock: MockClock,
) -> None:
    """Whatever the number of its checks: a bounded number of rows, and one line in the log."""
    world = World()
    checks = [a_check(number, interval_s=10) for number in range(1, 1001)]
    world.engine.adopt(checks)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.engine.run)
            await pass_time(5)
            world.wall_shift_us = 36_000_000_000
            await pass_time(1)
            world.engine.stop()
    assert world.reasons()[Reason.STOPPED] <= GAP_ROWS_IN_ALL
    assert len({row.check_no for row in world.rows if row.reason is Reason.STOPPED}) == 1000
    (told,) = [entry for entry in logs if entry["event"] == "slots_missed"]
    assert told["slots"] > 3_500_000
    assert GAP_ROWS_IN_ALL / 2 < told["recorded"] <= GAP_ROWS_IN_ALL
    assert "stopped" in told["reasons"]


async def test_a_crash_of_a_runner_is_a_row_that_says_nothing(autojump_clock: MockClock) -> None:
    """A defect on one reply must not end the probe, and must not count against the target."""

    async def run(check: Check) -> Outcome:
        await trio.lowlevel.checkpoint()
        raise IndexError("a defect")

    world = World(script=run)
    await live(world, 10, [a_check(interval_s=1)])
    assert len(world.rows) == 10
    assert {(row.failure, row.validity) for row in world.rows} == {
        (Failure.UNKNOWN, Validity.PROBE_FAULT)
    }


async def test_a_run_without_a_task_has_the_same_row(autojump_clock: MockClock) -> None:
    """At once or later, whoever ends it; a check that takes a task gets one."""
    later: list[tuple[Done, Check]] = []

    def ready(check: Check) -> Start | None:
        at_once: Start = lambda done: done(lambda: good(check))  # noqa: E731
        return {1: at_once, 2: lambda done: later.append((done, check))}.get(check.check_no)

    async def end_later() -> None:
        while True:
            await pass_time(0.2)
            while later:
                done, check = later.pop()
                done(partial(good, check))

    world = World(prompt=ready)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_later)
        await live(world, 10, [a_check(number, interval_s=1) for number in (1, 2, 3)])
        nursery.cancel_scope.cancel()
    assert Counter(row.check_no for row in world.rows) == {1: 10, 2: 10, 3: 10}
    assert {(row.failure, row.validity, row.reason) for row in world.rows} == {
        (None, Validity.OK, None)
    }
    assert all(row.started_at_us == row.slot_at_us + (row.lateness_us or 0) for row in world.rows)
    assert (len(world.told_us), world.engine.queue_depth) == (10, 0)


async def test_a_crash_without_a_task_is_a_row_that_says_nothing(
    autojump_clock: MockClock,
) -> None:
    """Before the start, in it, after its end has been told, or when the outcome is made."""

    def fail(*_: object) -> Any:
        raise IndexError("a defect")

    def ends_and_fails(done: Done) -> None:
        done(lambda: good(a_check(4)))
        fail()

    starts: dict[int, Start] = {2: fail, 3: lambda done: done(fail), 4: ends_and_fails}
    world = World(prompt=lambda check: starts[check.check_no])
    await live(world, 5, [a_check(number, interval_s=1) for number in (1, 2, 3, 4)])
    crashed = (Failure.UNKNOWN, Validity.PROBE_FAULT)
    assert Counter((row.check_no, row.failure, row.validity) for row in world.rows) == {
        **{(number, *crashed): 5 for number in (1, 2, 3)},
        (4, None, Validity.OK): 5,
    }
    assert world.engine.queue_depth == 0


async def test_starts_per_turn_are_bounded_and_all_start(autojump_clock: MockClock) -> None:
    """A thousand checks of one short interval all run but those of the last nap, in portions."""
    world = World()
    checks = [a_check(number, interval_s=1) for number in range(1000)]
    await live(world, 3, checks)
    assert len(world.rows) == 3000
    assert set(world.reasons()) <= {State.MEASURED, Reason.STOPPED}
    napped_us = max(row.slot_at_us for row in world.rows) - NAP_MIN_S * 1e6
    assert all(row.slot_at_us > napped_us for row in world.rows if row.reason is not None)
    assert STARTS_PER_TURN < 1000
    assert world.engine.queue_depth == 0
