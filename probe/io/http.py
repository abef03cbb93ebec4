"""One HTTP request to one address, every step timed on its own: resolve, connect, tls, request, reply.

The address is the one of this slot; the name goes into SNI and the Host field. GET and HEAD only,
no cookies, no credentials, no proxy from the environment, one connection per request. Over TLS the
check's versions of HTTP are offered and the server chooses; without TLS it is always 1.1. A redirect is
an answer like any other; where a check wants it followed, the next place is resolved anew and judged
by the address policy like a first one, so that no server can send a probe into its own network.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from probe.core.draft import Draft, Elapsed, Fault, join_hops
from probe.core.edges import edge_of
from probe.core.expect import why_impossible
from probe.core.httpfacts import (
    HttpFacts,
    Reply,
    Request,
    authority_of,
    body_sha256,
    describe_reply,
    judge_http,
    location_of,
    scheme_of,
    user_agent_of,
    why_not_asked,
)
from probe.core.outcome import Outcome, Refusal, Resolved, not_run, refused
from probe.core.pages import page_of
from probe.core.redirect import leads_on, way_on
from probe.io.box import Toolbox
from probe.io.http2wire import Http2Exchange
from probe.io.httpwire import Exchange, MalformedError
from probe.io.reach import Reached, draft_of, reach
from probe.io.resolve import resolve
from probe.io.stream import Instant, StepError, elapsed_between, instant_now
from probe.io.tls import ALPN, close_all, open_session, raw_stream
from probe.io.tlsstream import TlsStream
from proto.model import Check, Failure, Operation, Reason

_NO_VERSION: Final = Fault(
    Failure.TLS_PROTOCOL,
    "the peer took up none of the versions of HTTP that were offered -> tls_protocol",
)


class _Session(Protocol):
    """A stamped stream, or TLS over one."""

    @property
    def sent_at(self) -> Instant: ...

    @property
    def received_at(self) -> Instant: ...

    async def send_all(self, data: bytes, *, operation: Operation) -> None: ...

    async def receive(self, *, operation: Operation) -> bytes: ...


class _Exchange(Protocol):
    """One request and the reader of its reply, in whichever version of HTTP."""

    request_bytes: bytes

    @property
    def has_begun(self) -> bool: ...

    def feed(self, data: bytes) -> bool: ...

    def owed(self) -> bytes: ...

    def reply(self) -> Reply: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What came back after the request, and how that ended."""

    reply: Reply
    first_byte: Elapsed | None = None  # None: nothing came
    whole: Elapsed | None = None  # from the request to the last byte, or to the fault
    fault: Fault | None = None  # the connection failed before the reply was over
    malformed: str | None = None


async def run_http(check: Check, box: Toolbox) -> Outcome:
    """The outcome of one request, or of the chain of redirects that the check wants followed."""
    deadline = trio.current_time() + check.timeout_s
    hops: list[Outcome] = []
    hop: Check | None = check
    while hop is not None:
        outcome, hop = await _run_hop(hop, box, deadline=deadline, hops_before=len(hops))
        hops.append(outcome)
    return join_hops(tuple(hops))


async def _run_hop(
    check: Check, box: Toolbox, *, deadline: float, hops_before: int
) -> tuple[Outcome, Check | None]:
    why = why_not_asked(check)
    if why is not None:
        return not_run(check, reason=Reason.POLICY, why=why), None
    # Of a hop: it leads to an address of the other family.
    why = why_impossible(check)
    if why is not None:
        return not_run(check, reason=Reason.UNSUPPORTED, why=why), None
    resolved = await resolve(check, box, deadline=deadline)
    if isinstance(resolved, Refusal):
        return refused(check, resolved), None
    work = _go_there(check, resolved, box, deadline=deadline, hops_before=hops_before)
    return await box.reactor.do(work)


async def _go_there(
    check: Check, resolved: Resolved, box: Toolbox, *, deadline: float, hops_before: int
) -> tuple[Outcome, Check | None]:
    reached = await reach(check, resolved, box, deadline=deadline)
    if isinstance(reached, Outcome):
        return reached, None
    return await _ask_there(reached, box, draft_of(reached, is_told=True), hops_before=hops_before)


async def ask_once(
    check: Check, resolved: Resolved, box: Toolbox, *, started: float, is_told: bool = True
) -> Outcome:
    """What `run_http` does of a check that follows nothing. Driven by the reactor."""
    reached = await reach(check, resolved, box, deadline=started + check.timeout_s)
    if isinstance(reached, Outcome):
        return reached
    draft = draft_of(reached, is_told=is_told)
    return (await _ask_there(reached, box, draft, hops_before=0))[0]


async def _ask_there(
    reached: Reached, box: Toolbox, draft: Draft, *, hops_before: int
) -> tuple[Outcome, Check | None]:
    sockets = [reached.connected.sock]
    try:
        session = await _open(reached, box, draft, sockets=sockets)
        exchange = None if session is None else _exchange(reached.check, box, session, draft)
        if session is None or exchange is None or not await _ask(session, exchange, draft):
            return draft.finish(), None
        heard = await _listen(session, exchange)
    finally:
        close_all(sockets)
    return _conclude(reached.check, draft, heard, hops_before=hops_before)


def _request(check: Check, box: Toolbox) -> Request:
    return Request(
        method=check.method,
        authority=authority_of(check),
        target=check.path,
        user_agent=user_agent_of(box.settings.user_agent),
    )


async def _open(
    reached: Reached, box: Toolbox, draft: Draft, *, sockets: list[socket.socket]
) -> _Session | None:
    if reached.check.use_tls:
        return await open_session(reached, box, draft, sockets=sockets)
    return raw_stream(reached)


def _exchange(check: Check, box: Toolbox, session: _Session, draft: Draft) -> _Exchange | None:
    """The exchange in the version that was agreed on; None: in none that the check allows."""
    request = _request(check, box)
    agreed = session.alpn if isinstance(session, TlsStream) else None
    if agreed == ALPN["2"]:
        return Http2Exchange(request, scheme=scheme_of(check), cap_bytes=check.body_cap_bytes)
    if check.use_tls and "1.1" not in check.http_versions:
        draft.fail(Operation.TLS, _NO_VERSION)
        return None
    return Exchange(request, cap_bytes=check.body_cap_bytes)


async def _ask(session: _Session, exchange: _Exchange, draft: Draft) -> bool:
    """Send the request; False when it could not be handed to the kernel."""
    try:
        await session.send_all(exchange.request_bytes, operation=Operation.REQUEST)
    except StepError as error:
        draft.fail(Operation.REQUEST, error.fault)
        return False
    draft.note(
        Operation.REQUEST,
        elapsed_between(session.sent_at, instant_now()),
        classified_by="handed to the kernel",
        detail=f"{len(exchange.request_bytes)} bytes",
    )
    return True


async def _listen(session: _Session, exchange: _Exchange) -> _Heard:
    """Read until the reply is over, our cap is full, or something breaks."""
    asked_at = session.sent_at
    first: Instant | None = None
    last: Instant | None = None
    fault: Fault | None = None
    malformed: str | None = None
    try:
        wants_more = True
        while wants_more:
            data = await session.receive(operation=Operation.REPLY)
            last = session.received_at if data else last
            wants_more = exchange.feed(data)
            first = first or (last if exchange.has_begun else None)
            if wants_more:
                await _pay(session, exchange)
    except StepError as error:
        fault, last = error.fault, instant_now()
    except MalformedError as error:
        malformed = str(error)
    return _Heard(
        reply=exchange.reply(),
        first_byte=None if first is None else elapsed_between(asked_at, first),
        whole=None if last is None else elapsed_between(asked_at, last),
        fault=fault,
        malformed=malformed,
    )


async def _pay(session: _Session, exchange: _Exchange) -> None:
    """Send what HTTP/2 owes its peer. Where that fails, what the peer said last decides."""
    owed = exchange.owed()
    if owed:
        with suppress(StepError):
            await session.send_all(owed, operation=Operation.REPLY)


def _conclude(
    check: Check, draft: Draft, heard: _Heard, *, hops_before: int
) -> tuple[Outcome, Check | None]:
    """Put the reply into the row, judge it, and say where to go on."""
    _fill(draft, heard)
    reply = heard.reply
    broke_off = heard.fault is not None or heard.malformed is not None
    way = None
    # A hop that failed already (its certificate is bad) is where the chain ends.
    if draft.failure is None and not broke_off:
        way = way_on(check, reply, hops_before=hops_before)
    facts = HttpFacts(
        check=check,
        reply=reply,
        malformed=heard.malformed,
        fault=heard.fault,
        has_begun=heard.first_byte is not None,
        is_hop=broke_off and leads_on(check, reply, hops_before=hops_before),
        no_way_on=way if isinstance(way, str) else None,
    )
    detail = describe_reply(facts)
    if isinstance(way, Check):
        draft.note(Operation.REPLY, heard.whole, classified_by="redirect followed", detail=detail)
        return draft.finish(), way
    judged = judge_http(facts)
    if judged is not None:
        draft.fail(judged.operation, judged.fault, heard.whole)
    else:
        draft.note(Operation.REPLY, heard.whole, classified_by="as expected", detail=detail)
    return draft.finish(), None


def _fill(draft: Draft, heard: _Heard) -> None:
    reply = heard.reply
    if heard.first_byte is not None:
        draft.learn(first_byte_us=heard.first_byte.us)
    if reply.status is None:
        return
    draft.learn(
        http_status=reply.status,
        http_version=reply.version,
        body_bytes=len(reply.body),
        body_sha256=body_sha256(reply),
        location=location_of(reply),
        edge=edge_of(reply),
        page=page_of(reply),
    )
    if heard.whole is not None and (reply.complete or reply.capped):
        after_first_us = max(0, heard.whole.us - (draft.facts.get("first_byte_us") or 0))
        draft.learn(total_us=draft.total_us(download_us=after_first_us))
