"""What every fault keeps to, whatever it does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.lab.faults.base import Affected, Fault, Outcome, all_of, healthy

ONE = Affected(
    vantage="v01", machine="x-live", protocol="http", family=4, outcome=Outcome.UNREACHABLE
)


class World:
    """A switch and a diary."""

    def __init__(self) -> None:
        self.diary: list[str] = []

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Note when something goes wrong and when it is undone."""
        self.diary.append(f"{name} on")
        try:
            yield
        finally:
            self.diary.append(f"{name} off")

    @contextmanager
    def refuse(self) -> Iterator[None]:
        """Fail to go wrong."""
        raise OSError("no")
        yield

    def fault(self, name: str, affected: Affected = ONE) -> Fault:
        """A fault that only notes."""
        stamps = itertools.count(1_000, 500)
        return Fault(
            verdict_class="edge",
            where=name,
            mechanism="noted",
            hold=lambda: self.hold(name),
            affected=lambda: {affected},
            families=frozenset({4}),
            wall_us=lambda: next(stamps),
        )


def test_a_fault_is_in_force_inside_its_block() -> None:
    """Entering does it, leaving undoes it, and the truth has both stamps then."""
    world = World()
    with world.fault("a") as fault:
        assert world.diary == ["a on"]
        assert (fault.truth.began_at_us, fault.truth.ended_at_us) == (1_000, None)
    assert world.diary == ["a on", "a off"]
    assert fault.truth.ended_at_us == 1_500
    assert fault.truth.vantages == {"v01"}
    assert fault.truth.machines == {"x-live"}


def test_clearing_twice_clears_once() -> None:
    """Clearing what is not in force does nothing, so that a tear-down may always clear."""
    world = World()
    fault = world.fault("a")
    fault.clear()
    fault.apply()
    fault.clear()
    fault.clear()
    assert world.diary == ["a on", "a off"]


def test_a_fault_can_come_back() -> None:
    """A cleared fault can be applied again and gets a new truth."""
    fault = World().fault("a")
    for began_at_us in (1_000, 2_000):
        with fault:
            assert fault.truth.began_at_us == began_at_us
            assert fault.truth.ended_at_us is None


def test_applying_twice_is_refused() -> None:
    """A fault in force is not applied on top of itself."""
    with World().fault("a") as fault, pytest.raises(RuntimeError, match="in force already"):
        fault.apply()


def test_there_is_no_truth_before_there_is_a_fault() -> None:
    """The truth of a fault that never was is not asked for by mistake."""
    with pytest.raises(LookupError, match="has not been applied"):
        _ = World().fault("a").truth


def test_a_fault_that_fails_leaves_nothing() -> None:
    """When one of several parts cannot be done, those already done are undone and none is in force."""
    world = World()
    broken = Fault(
        verdict_class="edge", where="b", mechanism="broken", hold=world.refuse, affected=frozenset
    )
    both = all_of(world.fault("a"), broken, verdict_class="edge", where="a and b", mechanism="both")
    with pytest.raises(OSError, match="no"):
        both.apply()
    assert world.diary == ["a on", "a off"]
    both.clear()


def test_an_unknown_truth_undoes_the_fault() -> None:
    """When the truth cannot be told the fault is not left in force."""
    world = World()

    def affected() -> frozenset[Affected]:
        raise LookupError("nobody knows")

    fault = Fault(
        verdict_class="edge",
        where="a",
        mechanism="noted",
        hold=lambda: world.hold("a"),
        affected=affected,
    )
    with pytest.raises(LookupError, match="nobody knows"):
        fault.apply()
    assert world.diary == ["a on", "a off"]


def test_several_faults_are_one_incident() -> None:
    """Parts go wrong in order, are undone in reverse, and share one truth with a class of its own."""
    world = World()
    other = Affected(
        vantage="v02", machine="x-live", protocol="http", family=6, outcome=Outcome.DEGRADED
    )
    parts = (world.fault("a"), world.fault("b", other))
    with all_of(*parts, verdict_class="country", where="DE", mechanism="both") as fault:
        assert fault.truth.verdict_class == "country"
        assert fault.truth.affected == {ONE, other}
        assert fault.truth.families == {4}
    assert world.diary == ["a on", "b on", "b off", "a off"]


def test_nothing_wrong_is_a_fault_too() -> None:
    """The control of every scenario affects nobody and says healthy."""
    with healthy() as fault:
        assert (fault.truth.verdict_class, fault.truth.affected) == ("healthy", frozenset())
