"""One run of an icmp or tcp check: resolve, do, and put the facts into a row."""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from probe.core.icmpwire import EchoAnswer, summarise
from probe.core.outcome import (
    Attempt,
    Done,
    Outcome,
    Refusal,
    Resolved,
    Start,
    blank_row,
    not_run,
    refused,
    validity_of,
)
from probe.io.box import Toolbox
from probe.io.flight import Echoes
from probe.io.icmp import Pinger
from probe.io.reactor import DRIVEN
from probe.io.resolve import resolve, resolve_literal
from probe.io.tcp import Connected, connect
from proto.model import Check, Failure, Operation, Reason, Result, Validity

# Apart enough not to share one burst of loss or one token of a rate limit, close enough to be one
# slot. Three requests take 0.2 s.
ECHO_SPACING_S: Final = 0.1
# The requests leave within this share of the slot, so that the last one has time for its reply.
_SENDING_SHARE: Final = 0.4


def _elapsed_us(started: float) -> int:
    return round((trio.current_time() - started) * 1e6)


# --- icmp -----------------------------------------------------------------------------------------


async def run_icmp(check: Check, box: Toolbox) -> Outcome:
    """Echo requests to one address; good as soon as one reply came in time."""
    started = trio.current_time()
    deadline = started + check.timeout_s
    pinger = box.pingers.get(check.family)
    if pinger is None:
        return not_run(check, reason=Reason.UNSUPPORTED, why=box.without_icmp[check.family])
    resolved = await resolve(check, box, deadline=deadline)
    if isinstance(resolved, Refusal):
        return refused(check, resolved)
    count, spacing_s = _train(check, deadline=deadline)
    echoes = await pinger.echo(
        resolved.address, count=count, deadline=deadline, spacing_s=spacing_s
    )
    row = _echo_row(check, resolved, echoes, started=started)
    steps = tuple(_echo_attempt(resolved.address, answer) for answer in echoes.answers)
    return Outcome(result=row, attempts=(*resolved.attempts, *steps))


def ready_icmp(check: Check, box: Toolbox) -> Start | None:
    """What `run_icmp` does of a literal, without a task that waits; None: it takes one.

    The outcome has no attempts, which serve people, and a probe's slots have no reader.
    """
    pinger = box.pingers.get(check.family)
    resolved = None if pinger is None else resolve_literal(check, box)
    if pinger is None or resolved is None:
        return None
    if isinstance(resolved, Refusal):
        outcome = refused(check, resolved)
        return lambda done: done(lambda: outcome)
    return partial(_begin_icmp, check, resolved, pinger)


def _begin_icmp(check: Check, resolved: Resolved, pinger: Pinger, done: Done) -> None:
    started = trio.current_time()
    deadline = started + check.timeout_s

    def outcome(echoes: Echoes) -> Outcome:
        row = _echo_row(check, resolved, echoes, started=started)
        return Outcome(result=row, attempts=())

    count, spacing_s = _train(check, deadline=deadline)
    pinger.begin(
        resolved.address,
        count=count,
        deadline=deadline,
        spacing_s=spacing_s,
        done=lambda echoes: done(lambda: outcome(echoes)),
    )


def _train(check: Check, *, deadline: float) -> tuple[int, float]:
    """How many requests, and how far apart."""
    count = max(1, check.packets)
    room_s = (deadline - trio.current_time()) * _SENDING_SHARE
    return count, min(ECHO_SPACING_S, max(0.0, room_s) / count)


def _echo_row(check: Check, resolved: Resolved, echoes: Echoes, *, started: float) -> Result:
    summary = summarise(echoes.answers)
    failure, validity = summary.failure, validity_of(summary.failure)
    if echoes.dropped and summary.lost:
        # Our own buffer overflowed: what is missing may have been answered.
        failure = Failure.LOCAL_OVERLOAD if summary.lost == summary.sent else None
        validity = Validity.PROBE_FAULT
    icmp = summary.icmp
    return blank_row(
        check,
        resolved=resolved,
        operation=None if failure is None else Operation.ECHO,
        failure=failure,
        sent=summary.sent,
        lost=summary.lost,
        duplicates=echoes.duplicates,
        late=echoes.late,
        rtt_us_min=summary.rtt_us_min,
        rtt_us_median=summary.rtt_us_median,
        rtt_us_max=summary.rtt_us_max,
        # A slot may look for late replies beyond its time, which is over at the deadline.
        total_us=min(_elapsed_us(started), round(check.timeout_s * 1e6)),
        stamp_source=summary.stamp_source,
        router=None if icmp is None else icmp.router,
        icmp_type=None if icmp is None else icmp.icmp_type,
        icmp_code=None if icmp is None else icmp.icmp_code,
        validity=validity,
    )


def _echo_attempt(address: str, answer: EchoAnswer) -> Attempt:
    return Attempt(
        operation=Operation.ECHO,
        address=address,
        elapsed_us=answer.rtt_us,
        stamp_source=answer.stamp_source,
        failure=answer.failure,
        classified_by=answer.sentence,
        detail=answer.detail,
    )


# --- tcp ------------------------------------------------------------------------------------------


async def run_tcp(check: Check, box: Toolbox) -> Outcome:
    """One connection to one address, closed at once."""
    started = trio.current_time()
    resolved = await resolve(check, box, deadline=started + check.timeout_s)
    if isinstance(resolved, Refusal):
        return refused(check, resolved)
    return await box.reactor.do(connect_once(check, resolved, box, started=started))


async def connect_once(
    check: Check, resolved: Resolved, box: Toolbox, *, started: float, is_told: bool = True
) -> Outcome:
    """What `run_tcp` does after the address is known. Driven by the reactor."""
    assert check.port is not None, "`unsupported` lets no tcp check without a port pass"
    connected = await connect(
        resolved.address,
        check.port,
        deadline=started + check.timeout_s,
        source=box.source_for(resolved.address),
        waits=DRIVEN,
    )
    if isinstance(connected, Refusal):
        return refused(check, connected, resolved=resolved, attempts=resolved.attempts)
    connected.sock.close()
    row = _tcp_row(check, resolved, connected, total_us=_elapsed_us(started))
    steps = (*resolved.attempts, *connected.attempts) if is_told else ()
    return Outcome(result=row, attempts=steps)


def _tcp_row(check: Check, resolved: Resolved, connected: Connected, *, total_us: int) -> Result:
    return blank_row(
        check,
        resolved=resolved,
        sent=1,
        retransmits=connected.retransmits,
        rtt_us_min=connected.rtt_us,
        rtt_us_median=connected.rtt_us,
        rtt_us_max=connected.rtt_us,
        connect_us=connected.connect_us,
        total_us=total_us,
        stamp_source=connected.stamp_source,
    )
