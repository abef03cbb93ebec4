"""What one run of one check learned, as values, and how a row is made from them.

A `Result` is what leaves the probe; the attempts beside it stay here and serve people
(`soundings probe check --explain`). The engine fills slot, lateness and clock fields afterwards
with `probe.core.rows.changed`: a runner knows nothing of schedules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from probe.core.endpoint import Endpoint
from probe.core.rows import changed
from proto.model import (
    Certificate,
    Check,
    Failure,
    Kind,
    Operation,
    Reason,
    Result,
    StampSource,
    State,
    Validity,
)

HTTPS_PORT = 443
HTTP_PORT = 80
DNS_PORT = 53
OVER_RATE = "not run: the rate per target of this vantage"
# Some 130 IPv4 addresses; the longest lists seen in the wild stay under 50.
ANSWERS_CHARS_MAX = 2048
ANSWERS_CUT = " …"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One packet, connection or step. `failure is None` means it went well."""

    operation: Operation
    address: str | None
    elapsed_us: int | None  # by the clock in stamp_source
    stamp_source: StampSource | None
    failure: Failure | None
    classified_by: str  # the row of the classification table that decided
    detail: str = ""  # scrubbed text: errno name, ICMP type/code/router, verify message


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpError:
    """What the error queue says of a packet that came back as an ICMP error."""

    family: int  # 4 or 6
    icmp_type: int
    icmp_code: int
    router: str | None  # who sent the error; None: the kernel did not say
    errno: int  # what the kernel made of it

    def __str__(self) -> str:
        return f"ICMPv{self.family} {self.icmp_type}/{self.icmp_code} from {self.router}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A step that did not lead on: it failed, or (with `reason`) it was not taken at all.

    Exactly one of `failure` and `reason` is set.
    """

    operation: Operation
    attempt: Attempt
    failure: Failure | None = None
    reason: Reason | None = None
    earlier: tuple[Attempt, ...] = ()  # tries of the same step before `attempt`
    icmp: IcmpError | None = None
    server: Endpoint | None = None  # the name server that it is about
    retransmits: int | None = None
    dns_rcode: int | None = None
    resolve_us: int | None = None
    dns_flags: str | None = None
    dns_ttl_s: int | None = None
    answers: tuple[str, ...] = ()  # what DNS said before the address policy barred it


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The addresses of a name, all allowed by the address policy, and the one to contact now."""

    address: str  # the one of this slot
    addresses: tuple[str, ...]  # all that DNS gave, sorted, barred ones included
    ttl_s: int | None = None  # None for literals and pinned addresses
    rcode: int | None = None
    dns_flags: str | None = None
    resolve_us: int | None = None  # from the first query to the answer; None: nothing was asked
    attempts: tuple[Attempt, ...] = ()  # the tries, for people; none for literals

    @property
    def attempt(self) -> Attempt | None:
        """The try that was answered."""
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything one run of one check learned."""

    result: Result
    attempts: tuple[Attempt, ...]
    certificates: tuple[Certificate, ...] = ()


Done: TypeAlias = Callable[[Callable[[], Outcome]], None]
"""Who waits for a run: told once, when it is over, how to make its outcome."""

Start: TypeAlias = Callable[[Done], None]
"""Begins a run that needs no task; it may be over before this returns."""


def port_of(check: Check) -> int | None:
    """The port that the check contacts; None for ICMP, which has none, and for traces by ICMP."""
    if check.kind is Kind.ICMP:
        return None
    if check.kind is Kind.TRACE:
        return check.port
    if check.port is not None:
        return check.port
    if check.kind is Kind.DNS:
        return DNS_PORT
    return HTTPS_PORT if check.kind is Kind.TLS or check.use_tls else HTTP_PORT


def validity_of(failure: Failure | None) -> Validity:
    """A local failure says nothing about the target."""
    return Validity.PROBE_FAULT if failure is not None and failure.is_local else Validity.OK


def join_answers(answers: tuple[str, ...]) -> str | None:
    """All addresses or records, sorted, separated by a space; None when there are none.

    What does not fit whole is left out, for half an address would be another address, and a last
    " …" says so.
    """
    text = ""
    cut = False
    for answer in sorted(answers):
        longer = f"{text} {answer}" if text else answer
        if len(longer) + len(ANSWERS_CUT) > ANSWERS_CHARS_MAX:
            cut = True
        else:
            text = longer
    return f"{text}{ANSWERS_CUT}".lstrip() if cut else text or None


def blank_row(check: Check, *, resolved: Resolved | None = None, **facts: Any) -> Result:
    """The row of a slot that was run: what is known before anything is contacted, and `facts`."""
    blank = bare_row(port_of(check), check.family)
    return changed(blank, **first_facts(check, resolved), **facts)


def first_facts(check: Check, resolved: Resolved | None) -> dict[str, Any]:
    """What is known of a run before anything is contacted, by the names of a row."""
    if resolved is None:
        return {"check_no": check.check_no}
    if not resolved.attempts:
        return {"check_no": check.check_no, "address": resolved.address}
    return {
        "check_no": check.check_no,
        "address": resolved.address,
        "answers": None if resolved.resolve_us is None else join_answers(resolved.addresses),
        "resolve_us": resolved.resolve_us,
        "dns_rcode": resolved.rcode,
        "dns_ttl_s": resolved.ttl_s,
        "dns_flags": resolved.dns_flags,
    }


@lru_cache(256)
def bare_row(port: int | None, family: int) -> Result:
    """A row that was measured, with nothing in it: shared by all that begin with it."""
    return Result(
        check_no=0,
        slot_at_us=0,
        started_at_us=None,
        state=State.MEASURED,
        port=port,
        family=family,
    )


def not_run(check: Check, *, reason: Reason, why: str) -> Outcome:
    """The row of a slot in which nothing was sent to the target; `why` is for people."""
    attempt = Attempt(
        operation=first_operation(check),
        address=None,
        elapsed_us=None,
        stamp_source=None,
        failure=None,
        classified_by=f"not run: {reason.value}",
        detail=why,
    )
    row = changed(blank_row(check), state=State.NOT_RUN, reason=reason)
    return Outcome(result=row, attempts=(attempt,))


def refused(
    check: Check,
    refusal: Refusal,
    *,
    resolved: Resolved | None = None,
    attempts: tuple[Attempt, ...] = (),
) -> Outcome:
    """The outcome of a check that ended with this refusal; `attempts` are the steps before it.

    A step that the policy barred gives a `not_run` row, a failed one a `measured` row.
    """
    steps = (*attempts, *refusal.earlier, refusal.attempt)
    row = blank_row(check, resolved=resolved)
    if resolved is None:
        row = changed(
            row,
            answers=join_answers(refusal.answers),
            dns_rcode=refusal.dns_rcode,
            dns_ttl_s=refusal.dns_ttl_s,
            dns_flags=refusal.dns_flags,
            resolve_us=refusal.resolve_us,
        )
    if refusal.reason is not None:
        row = changed(row, state=State.NOT_RUN, reason=refusal.reason)
        return Outcome(result=row, attempts=steps)
    icmp = refusal.icmp
    row = changed(
        row,
        operation=refusal.operation,
        failure=refusal.failure,
        sent=1,
        lost=1,
        retransmits=refusal.retransmits,
        connect_us=_answered_after_us(refusal),
        router=None if icmp is None else icmp.router,
        icmp_type=None if icmp is None else icmp.icmp_type,
        icmp_code=None if icmp is None else icmp.icmp_code,
        validity=validity_of(refusal.failure),
    )
    return Outcome(result=row, attempts=steps)


def _answered_after_us(refusal: Refusal) -> int | None:
    """How long the refusal of a connection took to come: a reset from near by comes too soon."""
    if refusal.operation is not Operation.CONNECT or refusal.failure is Failure.TIMEOUT:
        return None
    local = refusal.failure is None or refusal.failure.is_local
    return None if local else refusal.attempt.elapsed_us


def first_operation(check: Check) -> Operation:
    """The step that would have come first at the target itself."""
    return _FIRST.get(check.kind, Operation.CONNECT)


_FIRST = {Kind.DNS: Operation.RESOLVE, Kind.ICMP: Operation.ECHO, Kind.TRACE: Operation.HOP}
