"""One run of a dns check: whom to ask, ask, and put what was said into a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import trio

from probe.core.endpoint import Endpoint
from probe.core.expect import outside, server_of
from probe.core.outcome import (
    DNS_PORT,
    OVER_RATE,
    Attempt,
    Outcome,
    Refusal,
    blank_row,
    join_answers,
    not_run,
    refused,
)
from probe.core.rows import changed
from probe.io.authority import find_servers
from probe.io.box import Toolbox
from probe.io.dns import Answer, Question, ask
from probe.io.resolve import barred, over_rate, refusal_by
from proto.model import Check, Control, Operation, Reason

# The search for a zone's servers gets this share of the time: what is left must be enough to call a
# server silent that does not answer.
_SEARCH_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whom:
    """The servers to ask, and what it took to find them."""

    servers: Sequence[Endpoint]
    who: str = ""  # for people
    earlier: tuple[Attempt, ...] = ()


async def run_dns(check: Check, box: Toolbox) -> Outcome:
    """One question: to the check's server, one of the zone's, or the vantage's resolvers."""
    started = trio.current_time()
    whom = await _whom(check, box)
    if isinstance(whom, Outcome):
        return whom
    question = Question(
        name=check.host,
        qtype=check.qtype,
        deadline=started + check.timeout_s,
        source=box.settings.source_address,
        recursive=check.control is not Control.AUTHORITATIVE,
    )
    answer = await ask(question, whom.servers)
    total_us = round((trio.current_time() - started) * 1e6)
    if isinstance(answer, Refusal):
        outcome = _unanswered(check, answer)
    else:
        outcome = _answered(check, box, answer, total_us=total_us)
    last = outcome.attempts[-1]
    told = replace(last, detail="; ".join(part for part in (whom.who, last.detail) if part))
    return replace(outcome, attempts=(*whom.earlier, *outcome.attempts[:-1], told))


# --- Whom to ask ----------------------------------------------------------------------------------


async def _whom(check: Check, box: Toolbox) -> _Whom | Outcome:
    if check.control is Control.AUTHORITATIVE:
        return await _of_the_zone(check, box)
    server = server_of(check)
    if server is None:
        return _Whom(servers=box.resolvers())
    why = box.why_barred(server.address)
    if why is not None:
        return refused(check, barred(check, f"server {server}: {why}"))
    return _within_rate(check, box, _Whom(servers=(server,)))


async def _of_the_zone(check: Check, box: Toolbox) -> _Whom | Outcome:
    """The one server of the zone whose turn it is in this slot, of those that the policy allows now."""
    until = trio.current_time() + check.timeout_s * _SEARCH_SHARE
    found = await find_servers(check, box, deadline=until)
    delegation = found.delegation
    if delegation is None:
        outcome = not_run(check, reason=Reason.UNSUPPORTED, why=found.why_none)
        return replace(outcome, attempts=(*found.attempts, *outcome.attempts))
    reasons = {server: box.why_barred(server.address) for server in delegation.servers}
    allowed = tuple(server for server, why in reasons.items() if why is None)
    if not allowed:
        why = next(iter(reasons.values())) or ""
        return refused(check, barred(check, why), attempts=found.attempts)
    server = replace(delegation, servers=allowed).turn(box.turn(check))
    whom = _Whom(
        servers=(Endpoint(server.address, check.port or DNS_PORT),),
        who=f"{server.name}, one of {len(delegation.servers)} for {delegation.zone}",
        earlier=found.attempts,
    )
    return _within_rate(check, box, whom)


def _within_rate(check: Check, box: Toolbox, whom: _Whom) -> _Whom | Outcome:
    (server,) = whom.servers
    if box.may_contact(server.address):
        return whom
    refusal = barred(check, over_rate(server.address), by=OVER_RATE)
    return refused(check, refusal, attempts=whom.earlier)


# --- What to say of it ----------------------------------------------------------------------------


def _unanswered(check: Check, refusal: Refusal) -> Outcome:
    outcome = refused(check, refusal)
    asked = refusal.server
    assert asked is not None, "a question was put to some server"
    row = changed(outcome.result, address=asked.address, port=asked.port)
    return replace(outcome, result=row)


def _answered(check: Check, box: Toolbox, answer: Answer, *, total_us: int) -> Outcome:
    values = _said(check, answer)
    unexpected = outside(check, answer.reply.values, allowed=box.allowed)
    failed = refusal_by(answer, usable=len(values), outside=unexpected)
    if failed is None and _is_what_users_hear(check):
        family = 6 if check.qtype == "AAAA" else 4
        box.memory.remember(check.host, values, family=family, now_us=box.wall())
    row = changed(
        blank_row(check),
        address=answer.server.address,
        port=answer.server.port,
        operation=None if failed is None else Operation.RESOLVE,
        failure=None if failed is None else failed.failure,
        sent=1,
        lost=0 if failed is None else 1,
        retransmits=answer.retransmits,
        rtt_us_min=answer.rtt_us,
        rtt_us_median=answer.rtt_us,
        rtt_us_max=answer.rtt_us,
        resolve_us=answer.waited_us,
        total_us=total_us,
        stamp_source=answer.stamp_source,
        dns_rcode=answer.reply.rcode,
        dns_ttl_s=answer.reply.ttl_s,
        dns_flags=answer.flags,
        answers=join_answers(values),
    )
    steps = answer.attempts if failed is None else (*failed.earlier, failed.attempt)
    return Outcome(result=row, attempts=steps)


def _is_what_users_hear(check: Check) -> bool:
    """Addresses from the vantage's own resolvers; others may be told other ones."""
    return check.qtype in {"A", "AAAA"} and check.control is None and check.server is None


def _said(check: Check, answer: Answer) -> tuple[str, ...]:
    """The records of the type asked for; from a zone's own server also where an alias leads.

    What lies behind an alias is another zone's word: who answers for the alias has answered.
    """
    reply = answer.reply
    if reply.values or check.control is not Control.AUTHORITATIVE or not reply.authoritative:
        return reply.values
    return reply.cnames[-1:]
