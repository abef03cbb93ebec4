from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from probe.core import ledger
from probe.core.clock import STAMP_US_MAX, ClockSample
from probe.core.drift import Drift
from probe.io.clock import (
    KERNEL_LOOK_US,
    MOMENT_US,
    Clocks,
    clock_note,
    drift_note,
    synchronised,
    utc,
    wall_us,
)
from proto.codec import report_to_wire
from proto.model import Report
from proto.session_codec import heartbeat_to_wire
from tests.fakes.ledgers import START_US, a_check, a_row
from tests.fakes.vantage import a_heartbeat


@dataclass
class Hands:
    """Two clocks that a test turns; `torn_us` passes between any two readings, `torn` times."""

    wall_us: int = START_US
    mono_us: int = 0
    torn: int = 0

    def wall(self) -> int:
        if self.torn:
            self.torn -= 1
            self.wall_us += 400_000
            self.mono_us += 400_000
        return self.wall_us

    def mono(self) -> int:
        return self.mono_us

    def turn(self, wall_us: int, mono_us: int) -> None:
        self.wall_us += wall_us
        self.mono_us += mono_us


def sample() -> ClockSample:
    """The coordinator is a second ahead."""
    t1_ns = START_US * 1000
    t2_ns = t1_ns + 1_000_000_000
    return ClockSample(t1_ns=t1_ns, t2_ns=t2_ns, t3_ns=t2_ns, t4_ns=t1_ns + 200_000)


def test_an_instant_of_the_last_look_is_carried_on_for_a_moment() -> None:
    """A step is seen no later than a moment after it."""
    hands = Hands()
    clocks = Clocks(hands.wall, mono=hands.mono)
    assert clocks.now_us() == START_US
    hands.turn(600_000_000, MOMENT_US - 1)
    assert (clocks.now_us(), clocks.steps) == (START_US + MOMENT_US - 1, 0)
    hands.turn(0, 1)
    assert (clocks.now_us(), clocks.steps) == (START_US + 600_000_000, 1)


def test_a_step_is_counted_told_once_and_voids_old_samples() -> None:
    """Whoever looked first, the engine learns how far the clock jumped."""
    hands = Hands()
    clocks = Clocks(hands.wall, mono=hands.mono)
    assert clocks.add(sample())
    assert clocks.estimate() is not None
    hands.turn(601_000_000, 1_000_000)
    clocks.look()
    assert clocks.steps == 1
    assert clocks.take_jump_us() == 600_000_000
    assert clocks.take_jump_us() == 0
    assert clocks.estimate() is None
    assert clocks.facts(steps_before=0).stepped
    assert not clocks.facts(steps_before=1).stepped


def test_a_reading_torn_by_the_scheduler_is_no_step() -> None:
    """The process lost the CPU between reading the two clocks: it reads again."""
    hands = Hands()
    clocks = Clocks(hands.wall, mono=hands.mono)
    hands.torn = 2
    assert clocks.look().jump_us == 0
    assert clocks.steps == 0


def test_a_drill_shifts_the_wall_clock_only() -> None:
    """clock_offset_s moves what rows are stamped with."""
    assert 599_000_000 < wall_us(600.0)() - wall_us()() < 601_000_000


def test_a_note_says_which_way_and_how_far() -> None:
    """Seconds, minutes or hours, and silence within what nobody needs to be told."""
    here = START_US
    notes = [
        clock_note(probe_us=here, coordinator_us=here + s * 1_000_000) for s in (1, 5, -600, 9000)
    ]
    assert notes[0] is None
    assert "5.0 s behind" in str(notes[1])
    assert "10 min ahead of" in str(notes[2])
    assert "2.5 h behind" in str(notes[3])
    for nonsense_us in (0, -(2**63), STAMP_US_MAX + 1, 2**63 - 1):
        assert clock_note(probe_us=here, coordinator_us=nonsense_us) is None
    assert "2262" in str(clock_note(probe_us=here, coordinator_us=STAMP_US_MAX))


def test_stamps_are_utc() -> None:
    """An instant of 2025."""
    assert utc(START_US).isoformat() == "2025-06-15T15:06:40+00:00"


def test_the_kernel_says_or_does_not_say() -> None:
    """Adjtimex needs no permission; None only where it is forbidden."""
    assert synchronised() in {True, False, None}


def test_the_kernel_is_asked_once_a_second() -> None:
    """A thousand rows a second share one answer, and a change of mind is seen in the next."""
    hands, asked = Hands(), list[int]()

    def kernel() -> bool:
        asked.append(hands.mono_us)
        return len(asked) == 1

    clocks = Clocks(hands.wall, mono=hands.mono, kernel=kernel)
    said = [clocks.facts(steps_before=0).synchronised for _ in range(3)]
    hands.turn(KERNEL_LOOK_US, KERNEL_LOOK_US)
    said.append(clocks.synchronised())
    assert said == [True, True, True, False]
    assert len(asked) == 2


def drifting(ppm: int, *, minutes: int = 10) -> Clocks:
    """Clocks that have been compared with the coordinator's once a minute."""
    hands = Hands()
    clocks = Clocks(hands.wall, mono=hands.mono)
    for minute in range(minutes):
        t1_ns = START_US * 1000
        t2_ns = t1_ns - ppm * minute * 60_000
        clocks.add(ClockSample(t1_ns=t1_ns, t2_ns=t2_ns, t3_ns=t2_ns, t4_ns=t1_ns + 1000))
        hands.turn(60_000_000, 60_000_000)
    return clocks


def test_a_drift_is_known_after_minutes_and_void_after_a_step() -> None:
    """This clock gains 30 ppm; before there are two minutes nothing is claimed."""
    assert drifting(30, minutes=1).drift() is None
    clocks = drifting(30)
    drift = clocks.drift()
    assert drift is not None
    assert abs(drift.ppb - 30_000) <= drift.error_ppb
    assert clocks.take_drift_note() is None
    clocks.wall = lambda: START_US
    clocks.look()
    assert clocks.drift() is None


def test_a_wild_clock_is_told_once_with_the_fix() -> None:
    """More than 100 ppm: nobody disciplines it, or its hardware is broken."""
    clocks = drifting(-250)
    note = str(clocks.take_drift_note())
    assert "loses 250 ppm (22 s a day)" in note
    assert "timedatectl set-ntp true" in note
    assert clocks.take_drift_note() is None
    assert "gains" in str(drift_note(Drift(ppb=250_000, error_ppb=0)))


STAMPS_NS = st.sampled_from((-(2**63), 0, START_US * 1000, START_US * 1000 + 10**13, 2**63 - 1))
WAITS_US = st.sampled_from((0, 1000, 10_000_000))


@given(st.lists(st.tuples(STAMPS_NS, STAMPS_NS, WAITS_US), min_size=1, max_size=4))
def test_whatever_a_coordinator_says_of_its_clock_can_be_written(
    lies: list[tuple[int, int, int]],
) -> None:
    """A row and a heartbeat have room for every offset, bound and drift that follow from it."""
    hands = Hands()
    clocks = Clocks(hands.wall, mono=hands.mono, kernel=lambda: True)
    for t2_ns, t3_ns, waited_us in lies:
        t1_ns = hands.wall_us * 1000
        hands.turn(waited_us, waited_us)
        t4_ns = hands.wall_us * 1000
        clocks.add(ClockSample(t1_ns=t1_ns, t2_ns=t2_ns, t3_ns=t3_ns, t4_ns=t4_ns))
        hands.turn(60_000_000, 60_000_000)
    facts = clocks.facts(steps_before=0)
    row = ledger.measured(
        a_row(), slot_at_us=START_US, begun=ledger.Begun(START_US, 0), check=a_check(), clock=facts
    )
    assert report_to_wire(Report((row,), ()))
    drift = clocks.drift()
    ppb = None if drift is None else drift.ppb
    assert heartbeat_to_wire(replace(a_heartbeat(), clock_drift_ppb=ppb))
