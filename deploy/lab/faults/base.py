"""What every fault is: something held for a while, and the truth of it.

    with blackhole(network, toward=("x",)) as fault:
        ...
    fault.truth

A fault is made of a context manager that does it on entry and undoes it on exit (to what was
before, not to what is usual), and of a function that says who is affected while it is in force.
Network faults ask the oracle; faults of services state it from what they broke. Nothing about the
outcome is typed in by hand, and nothing is read off the packets: else a test of the judgement
would compare the judgement with itself.

A fault can be applied and cleared many times. The truth of the last time stays readable after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from types import TracebackType
from typing import Final, Self


class Outcome(StrEnum):
    """What a vantage gets when it tries."""

    REACHABLE = "reachable"
    DEGRADED = "degraded"  # loss or queueing: some attempts fail, or all are slow
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Affected:
    """One vantage's access to one machine by one protocol, and how it suffers.

    `protocol` is icmp, tcp, udp, tls, http or dns. `component` is a component's name where the
    fault sits in a service rather than in the network.
    """

    vantage: str
    machine: str
    protocol: str
    family: int
    outcome: Outcome
    component: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a perfect judge would say. Stamps: microseconds since 1970 UTC; None = not yet."""

    verdict_class: str  # a word of the verdict taxonomy
    where: str  # machine, directed link a->b, network, process or component
    mechanism: str  # one phrase: what was done
    families: frozenset[int]
    affected: frozenset[Affected]
    began_at_us: int
    ended_at_us: int | None = None

    @property
    def vantages(self) -> frozenset[str]:
        """Vantages that suffer at all."""
        return frozenset(affected.vantage for affected in self.affected)

    @property
    def machines(self) -> frozenset[str]:
        """Machines that somebody fails to reach or reaches badly."""
        return frozenset(affected.machine for affected in self.affected)


def wall_clock_us() -> int:
    """Microseconds since 1970 UTC: when a fault began and ended is a fact of the wall clock."""
    return time.time_ns() // 1000


class Fault:
    """One fault: `apply` and `clear`, or a `with` block."""

    def __init__(  # noqa: PLR0913 (keyword-only facts of one value)
        self,
        *,
        verdict_class: str,
        where: str,
        mechanism: str,
        hold: Callable[[], AbstractContextManager[object]],
        affected: Callable[[], Iterable[Affected]],
        families: frozenset[int] = frozenset({4, 6}),
        wall_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self.verdict_class: Final = verdict_class
        self.where: Final = where
        self.mechanism: Final = mechanism
        self.families: Final = families
        self.hold: Final = hold
        self.affected: Final = affected
        self._wall_us = wall_us
        self._held: ExitStack | None = None
        self._truth: Truth | None = None

    @property
    def truth(self) -> Truth:
        """The truth of the time in force, or of the last; `LookupError` before the first."""
        if self._truth is None:
            raise LookupError(f"{self.mechanism} at {self.where} has not been applied yet")
        return self._truth

    def apply(self) -> Self:
        """Make it happen; on an error everything done so far is undone and nothing is in force."""
        if self._held is not None:
            raise RuntimeError(f"{self.mechanism} at {self.where} is in force already")
        began_at_us = self._wall_us()
        with ExitStack() as stack:
            stack.enter_context(self.hold())
            self._truth = self._describe(began_at_us)
            self._held = stack.pop_all()
        return self

    def clear(self) -> None:
        """Restore what was before `apply`; without one in force, do nothing."""
        held, self._held = self._held, None
        if held is not None:
            held.close()
            self._truth = replace(self.truth, ended_at_us=self._wall_us())

    def __enter__(self) -> Self:
        return self.apply()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def _describe(self, began_at_us: int) -> Truth:
        return Truth(
            verdict_class=self.verdict_class,
            where=self.where,
            mechanism=self.mechanism,
            families=self.families,
            affected=frozenset(self.affected()),
            began_at_us=began_at_us,
        )


def all_of(*faults: Fault, verdict_class: str, where: str, mechanism: str) -> Fault:
    """Several faults that are one incident: applied in order, cleared in reverse.

    The class is said anew, because several faults together can be another class than each alone
    (every access network of a country cut is `country`).
    """

    @contextmanager
    def hold() -> Iterator[None]:
        with ExitStack() as stack:
            for fault in faults:
                stack.enter_context(fault.hold())
            yield

    def affected() -> frozenset[Affected]:
        return frozenset(one for fault in faults for one in fault.affected())

    families = frozenset(family for fault in faults for family in fault.families)
    return Fault(
        verdict_class=verdict_class,
        where=where,
        mechanism=mechanism,
        hold=hold,
        affected=affected,
        families=families,
    )


def healthy() -> Fault:
    """Nothing wrong: the control of every scenario."""
    return Fault(
        verdict_class="healthy",
        where="nowhere",
        mechanism="nothing",
        hold=ExitStack,
        affected=frozenset,
        families=frozenset(),
    )
