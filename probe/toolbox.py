"""The one door to the runners: open what they share, run one check, say what cannot run here."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

import trio

from probe.core.address import is_inside, parse_address, parse_networks
from probe.core.expect import why_impossible
from probe.core.httpfacts import why_not_asked
from probe.core.limits import TRACES_MAX
from probe.core.outcome import (
    Attempt,
    Done,
    Outcome,
    Refusal,
    Resolved,
    Start,
    first_operation,
    not_run,
    refused,
)
from probe.core.rows import changed
from probe.io import stamps
from probe.io.box import Toolbox, ToolboxSettings, Verdicts, WallClock
from probe.io.dnscheck import run_dns
from probe.io.http import ask_once, run_http
from probe.io.icmp import Pinger
from probe.io.icmpsocket import EchoSocket, IcmpUnavailable, open_echo_socket
from probe.io.reactor import Reactor
from probe.io.resolve import resolve_literal
from probe.io.resolvers import Resolvers
from probe.io.runners import connect_once, ready_icmp, run_icmp, run_tcp
from probe.io.tls import run_tls, shake_hands, verifying_context
from probe.io.trace import run_trace
from probe.io.ways import RouteWatch, families_present, own_address
from proto.model import Check, Failure, Kind, Reason, StampSource

__all__ = [
    "Toolbox",
    "ToolboxSettings",
    "WallClock",
    "open_toolbox",
    "ready",
    "run_check",
    "run_supported",
    "unsupported",
]

Runner: TypeAlias = Callable[[Check, Toolbox], Awaitable[Outcome]]

RUNNERS: Final[dict[Kind, Runner]] = {
    Kind.ICMP: run_icmp,
    Kind.TCP: run_tcp,
    Kind.DNS: run_dns,
    Kind.HTTP: run_http,
    Kind.TLS: run_tls,
    Kind.TRACE: run_trace,
}


class Work(Protocol):
    """What a runner does after the address is known, driven by the reactor."""

    def __call__(
        self, check: Check, resolved: Resolved, box: Toolbox, *, started: float, is_told: bool
    ) -> Coroutine[Any, bool | None, Outcome]: ...


_WORKS: Final[dict[Kind, Work]] = {
    Kind.TCP: connect_once,
    Kind.HTTP: ask_once,
    Kind.TLS: shake_hands,
}
# Every runner keeps its own deadline. A run that is still going after this much more is a loop that
# stood still, and is cut off so that it cannot pile up.
_GRACE_S: Final = 3.0


@asynccontextmanager
async def open_toolbox(settings: ToolboxSettings, *, wall: WallClock) -> AsyncIterator[Toolbox]:
    """Open what every check shares and keep its receivers running until the block ends.

    What this machine cannot do (no ICMP rights, no IPv6) is no error: `unsupported` will say so.

    Args:
        settings: what the operator of this vantage decided.
        wall: microseconds since 1970 UTC.

    Raises:
        ValueError: a resolver or network in the settings is none; the text names it and the fix.
        ConfigError: `ca_file` cannot be read or holds no certificate.
    """
    failure: Exception | None = None
    with ExitStack() as stack:
        allowed = parse_networks(settings.allow_networks)
        resolvers = Resolvers(settings.resolvers)
        pingers, without_icmp = _open_pingers(settings, stack)
        warm = await _warm_stamps(stack)
        watch = RouteWatch()
        stack.callback(watch.close)
        reactor = Reactor()
        stack.callback(reactor.close)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            for pinger in pingers.values():
                pinger.join(reactor)
            try:
                box = Toolbox(
                    settings=settings,
                    wall=wall,
                    allowed=allowed,
                    verdicts=Verdicts(watch),
                    resolvers=resolvers,
                    pingers=pingers,
                    without_icmp=without_icmp,
                    trace_sockets=_open_trace_sockets(settings, pingers, stack),
                    reactor=reactor,
                    stamps_warm=warm,
                    families=families_present(),
                )
                if settings.ca_file is not None:
                    verifying_context(box)  # a file that cannot be used is known at the start
                yield box
            except Exception as error:  # noqa: BLE001 - raised below, free of the nursery's group
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _open_pingers(
    settings: ToolboxSettings, stack: ExitStack
) -> tuple[dict[int, Pinger], dict[int, str]]:
    pingers: dict[int, Pinger] = {}
    without: dict[int, str] = {}
    for family in (4, 6):
        mine = _source_of(settings, family)
        try:
            pingers[family] = Pinger(family, source=mine, tx_stamps=settings.tx_stamps)
        except IcmpUnavailable as error:
            without[family] = str(error)
        else:
            stack.callback(pingers[family].close)
    return pingers, without


def _open_trace_sockets(
    settings: ToolboxSettings, pingers: Mapping[int, Pinger], stack: ExitStack
) -> dict[int, list[EchoSocket]]:
    """Where only raw sockets open, one for each trace that may run at once."""
    found: dict[int, list[EchoSocket]] = {}
    for family, pinger in pingers.items():
        for _ in range(TRACES_MAX if pinger.is_raw else 0):
            try:
                sock = open_echo_socket(family, source=_source_of(settings, family))
            except IcmpUnavailable:
                break  # out of something just now: fewer traces at once
            stack.callback(sock.close)
            sock.rest()
            found.setdefault(family, []).append(sock)
    return found


def _source_of(settings: ToolboxSettings, family: int) -> str | None:
    source = settings.source_address
    return source if source is not None and (":" in source) == (family == 6) else None


async def _warm_stamps(stack: ExitStack) -> bool:
    """Make kernel stamps honest, with a socket that keeps them so for as long as we run."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            continue
        stack.callback(sock.close)
        if await stamps.warm_up(sock):
            return True
    return False


async def run_check(
    check: Check, box: Toolbox, *, runners: Mapping[Kind, Runner] = RUNNERS
) -> Outcome:
    """One run of one check within its timeout; not run, with the reason, where it is unsupported."""
    why = unsupported(check, box)
    if why is not None:
        return not_run(check, reason=Reason.UNSUPPORTED, why=why)
    started_at_us = box.wall()
    outcome = await run_supported(check, box, runners=runners)
    if outcome.result.reason is not None:
        return outcome
    return replace(outcome, result=changed(outcome.result, started_at_us=started_at_us))


async def run_supported(
    check: Check, box: Toolbox, *, runners: Mapping[Kind, Runner] = RUNNERS
) -> Outcome:
    """One run of a check that `unsupported` lets pass, within its timeout.

    Raises nothing for what the network or the local machine does: that is a `Failure` in the row.
    What a bug of ours raises comes out. The engine fills slot, start, lateness and clock fields.
    """
    outcome = None
    with trio.CancelScope(deadline=trio.current_time() + check.timeout_s + _GRACE_S):
        outcome = await runners[check.kind](check, box)
    return _overrun(check) if outcome is None else outcome


def ready(check: Check, box: Toolbox) -> Start | None:
    """How to begin a run, supported here, that needs no task of its own; None: it needs one.

    A name has to be looked up first, and a redirect may lead to one.
    """
    if check.kind is Kind.ICMP:
        return ready_icmp(check, box)
    work = _WORKS.get(check.kind)
    if work is None or (check.kind is not Kind.TCP and not _is_asked_once(check)):
        return None
    resolved = resolve_literal(check, box)
    if resolved is None:
        return None
    if isinstance(resolved, Refusal):
        outcome = refused(check, resolved)
        return lambda done: done(lambda: outcome)
    return partial(_drive, work, check, resolved, box)


def _is_asked_once(check: Check) -> bool:
    return not check.follow_redirects and why_not_asked(check) is None


def _drive(work: Work, check: Check, resolved: Resolved, box: Toolbox, done: Done) -> None:
    started = trio.current_time()

    box.reactor.start(
        work(check, resolved, box, started=started, is_told=False),
        done,
        cut_off_at=started + check.timeout_s + _GRACE_S,
        instead=lambda: _overrun(check),
    )


def _overrun(check: Check) -> Outcome:
    attempt = Attempt(
        operation=first_operation(check),
        address=None,
        elapsed_us=round((check.timeout_s + _GRACE_S) * 1e6),
        stamp_source=StampSource.USER,
        failure=Failure.LOCAL_OVERLOAD,
        classified_by="the run outlived its deadline: this machine stood still",
    )
    refusal = Refusal(operation=attempt.operation, attempt=attempt, failure=Failure.LOCAL_OVERLOAD)
    return refused(check, refusal)


def unsupported(check: Check, box: Toolbox) -> str | None:
    """Why this vantage cannot run the check, with the way to repair it; None when it can."""
    by_icmp = check.kind is Kind.ICMP or (check.kind is Kind.TRACE and check.port is None)
    if by_icmp and check.family in box.without_icmp:
        return f"icmp: {box.without_icmp[check.family]}"
    return why_impossible(check) or _without_family(check, box)


def _without_family(check: Check, box: Toolbox) -> str | None:
    """A family that this vantage never had is unsupported; one that it lost is a failure to report.

    A dns check goes to whatever servers it is given, so its family does not matter here.
    """
    if check.kind is Kind.DNS or check.family in box.families:
        return None
    target = parse_address(check.host if check.pinned is None else check.pinned)
    loopback = parse_address("::1" if check.family == 6 else "127.0.0.1")
    means_loopback = loopback is not None and is_inside(loopback, box.allowed)
    if target is not None and own_address(str(target)) is not None:
        return None
    if means_loopback and own_address(str(loopback)) is not None:
        return None
    box.families.update(families_present())
    if check.family in box.families:
        return None
    return f"this vantage has no address of IPv{check.family}, beyond loopback and link-local"
