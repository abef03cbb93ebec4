"""The row of a check of many steps while it is being made.

A check over TCP goes through steps, each timed and each able to end it. The first step that fails
gives the row its operation and failure word; later ones may still add facts (what the platform
answered behind an expired certificate), but never another word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from probe.core.classify import Classified
from probe.core.outcome import Attempt, Outcome, validity_of
from probe.core.rows import changed
from proto.model import (
    Certificate,
    Failure,
    Operation,
    Result,
    StampSource,
    State,
    Validity,
)

# From the worst clock to the best: a row is as good as the worst of its times.
_WORST_FIRST: Final = (
    StampSource.USER,
    StampSource.COARSE,
    StampSource.TCP_INFO,
    StampSource.KERNEL,
    StampSource.KERNEL_BOTH,
)


class Elapsed(NamedTuple):
    """A duration and the clock it rests on."""

    us: int
    source: StampSource


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a step did not lead on."""

    failure: Failure
    classified_by: str
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class Draft:
    """The only mutable value of a run: facts beside the row that it began with, joined at its end."""

    row: Result
    address: str
    is_told: bool = True  # False: nobody will read the steps, so they are not put into words
    facts: dict[str, Any] = field(default_factory=dict)  # by their names in a row
    attempts: list[Attempt] = field(default_factory=list)
    clocks: list[StampSource | None] = field(default_factory=list)  # of the good steps
    certificates: list[Certificate] = field(default_factory=list)

    def note(
        self,
        operation: Operation,
        elapsed: Elapsed | None,
        *,
        classified_by: str,
        detail: str = "",
        failure: Failure | None = None,
    ) -> None:
        """One more step, good unless it has a failure word of its own."""
        source = None if elapsed is None else elapsed.source
        # Handing a request to the kernel is no time of the network's and is in no column.
        if failure is None and operation is not Operation.REQUEST:
            self.clocks.append(source)
        if not self.is_told:
            return
        attempt = Attempt(
            operation=operation,
            address=self.address,
            elapsed_us=None if elapsed is None else elapsed.us,
            stamp_source=source,
            failure=failure,
            classified_by=classified_by,
            detail=detail,
        )
        self.attempts.append(attempt)

    def take(self, attempts: Iterable[Attempt]) -> None:
        """Steps that somebody else took."""
        for attempt in attempts:
            self.attempts.append(attempt)
            if attempt.failure is None:
                self.clocks.append(attempt.stamp_source)

    def fail(self, operation: Operation, fault: Fault, elapsed: Elapsed | None = None) -> None:
        """A step that failed: the first one names the row's failure."""
        self.note(
            operation,
            elapsed,
            classified_by=fault.classified_by,
            detail=fault.detail,
            failure=fault.failure,
        )
        if self.failure is None:
            self.learn(operation=operation, failure=fault.failure)

    def learn(self, **facts: Any) -> None:
        """Facts for the row, by their names in it."""
        self.facts.update(facts)

    @property
    def failure(self) -> Failure | None:
        """The first failure word; None as long as every step was good."""
        return self.facts.get("failure")

    def total_us(self, *, download_us: int = 0) -> int:
        """What the network and the far end took: the sum of the steps, without our own share.

        A step that was not needed (a literal is not resolved) took no time.
        """
        known = self.facts.get
        steps_us = (
            (known("connect_us") or 0) + (known("tls_us") or 0) + (known("first_byte_us") or 0)
        )
        return (known("resolve_us") or 0) + steps_us + download_us

    def finish(self) -> Outcome:
        """The outcome: one connection was attempted, and it is lost if a step failed."""
        failure = self.failure
        self.learn(
            sent=1,
            lost=0 if failure is None else 1,
            stamp_source=worst_of(self.clocks),
            validity=validity_of(failure),
        )
        row = changed(self.row, **self.facts)
        return Outcome(
            result=row, attempts=tuple(self.attempts), certificates=tuple(self.certificates)
        )


def fault_of(found: Classified, detail: str = "") -> Fault:
    """What the classification table said, with the facts in words."""
    return Fault(found.failure, found.sentence, detail)


def worst_of(sources: Iterable[StampSource | None]) -> StampSource | None:
    """The least exact of these clocks; None: there is none."""
    known = list(sources)
    return next((source for source in _WORST_FIRST if source in known), None)


def join_hops(hops: tuple[Outcome, ...]) -> Outcome:
    """One outcome of a chain of redirects, first hop first.

    The row describes the last hop; its total is that of the whole way. A hop that was not run fails
    the chain at the reply that led there, and the row keeps what that reply was; but it is marked as
    our fault, since what stopped it was ours: the host's rate, a family that is not here, an address
    of this machine, or one that the host's policy forbids (see probe.core.redirect for the last).
    """
    if len(hops) == 1:
        return hops[0]
    last = hops[-1].result
    if last.state is State.NOT_RUN:
        last = changed(
            hops[-2].result,
            operation=Operation.REPLY,
            failure=Failure.HTTP_REDIRECT,
            lost=1,
            validity=Validity.PROBE_FAULT,
        )
    totals_us = [hop.result.total_us for hop in hops if hop.result.total_us is not None]
    locations = [hop.result.location for hop in hops if hop.result.location is not None]
    return Outcome(
        result=changed(
            last,
            total_us=None if last.total_us is None else sum(totals_us),
            location=locations[-1] if locations else None,
        ),
        attempts=tuple(attempt for hop in hops for attempt in hop.attempts),
        certificates=tuple({c.sha256: c for hop in hops for c in hop.certificates}.values()),
    )
