"""From the host of a check to the one address of this slot.

Resolution is a step of its own with its own time and its own ways to fail, so it is done anew in
every slot and never cached: a cache would hide the minute in which a name broke. Of several
addresses each slot contacts one, in turn, so that over a few slots all are seen while one slot
costs one connection; the turn is the slot's number, so that vantages with the same answer look at
the same address at the same time.

The address policy has the last word, after resolution: what a name leads to is what counts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

import trio

from probe.core.address import parse_address
from probe.core.classify import DnsFacts, classify_dns
from probe.core.dnswire import DnsFormError
from probe.core.outcome import (
    OVER_RATE,
    Attempt,
    Refusal,
    Resolved,
    first_operation,
)
from probe.io.box import Toolbox
from probe.io.dns import Answer, Question, ask
from proto.model import Check, Control, Operation, Reason

ADDRESS_POLICY: Final = "not run: address policy"
NONE_REMEMBERED: Final = (
    "no address is remembered from the last 24 h but those that the name has now"
)
# As many as a plan has checks.
LITERALS_REMEMBERED: Final = 20_000
# A slow resolver must not eat the time of the target: what is left has to be enough to call a silent
# target silent.
_RESOLVE_SHARE: Final = 0.5
# To look at the name once more is the lesser part of contacting where it led before.
_LOOK_UP_SHARE: Final = 0.4


async def resolve(check: Check, box: Toolbox, *, deadline: float) -> Resolved | Refusal:
    """The address to contact now, allowed by the policy; or why there is none.

    Literals and pinned addresses pass through without a question. A name that leads to nothing but
    barred addresses gives a `Refusal` with `reason` policy and the answers kept. No answer within
    half of the time that is left is `dns_timeout`.
    """
    literal = resolve_literal(check, box)
    if literal is not None:
        return literal
    if check.control is Control.REMEMBERED:
        return await _recall(check, box, deadline=deadline)
    found = await _look_up(check, box, deadline=_within(deadline, _RESOLVE_SHARE))
    return found if isinstance(found, Refusal) else _choose(check, box, found)


def resolve_literal(check: Check, box: Toolbox) -> Resolved | Refusal | None:
    """What `resolve` says of a literal or pinned address, at once; None: it is a name."""
    literal = _literal(check.host if check.pinned is None else check.pinned)
    if literal is not None:
        return _choose(check, box, literal)
    if check.pinned is not None:
        return barred(check, f"pinned is {check.pinned!r}, which is no address")
    return None


@lru_cache(LITERALS_REMEMBERED)
def _literal(text: str) -> Resolved | None:
    literal = parse_address(text)
    if literal is None:
        return None
    return Resolved(address=str(literal), addresses=(str(literal),))


def _within(deadline: float, share: float) -> float:
    """When this share of the time that is left is over, on trio's clock."""
    now = trio.current_time()
    return now + (deadline - now) * share


async def _look_up(check: Check, box: Toolbox, *, deadline: float) -> Resolved | Refusal:
    """What the name leads to now, of which nothing is chosen yet."""
    question = Question(
        name=check.host,
        qtype="AAAA" if check.family == 6 else "A",
        deadline=deadline,
        source=box.settings.source_address,
    )
    try:
        answer = await ask(question, box.resolvers())
    except DnsFormError as error:
        return barred(check, str(error))
    if isinstance(answer, Refusal):
        return answer
    failed = refusal_by(answer)
    if failed is not None:
        return failed
    # All of them: the policy judges an address when it is to be contacted, which may be tomorrow.
    box.memory.remember(check.host, answer.reply.values, family=check.family, now_us=box.wall())
    return _resolved(answer)


async def _recall(check: Check, box: Toolbox, *, deadline: float) -> Resolved | Refusal:
    """The address that the name led to last and does not lead to now.

    Where the name does not resolve now, that is no failure of this check but a fact beside it.
    """
    looked_up = await _look_up(check, box, deadline=_within(deadline, _LOOK_UP_SHARE))
    found = _unresolved(looked_up) if isinstance(looked_up, Refusal) else looked_up
    known = box.memory.recall(
        check.host, family=check.family, now_us=box.wall(), but=found.addresses
    )
    allowed = [text for text in known if box.why_barred(text) is None]
    if not allowed:
        return replace(
            _barred_after(check, found, NONE_REMEMBERED, by="not run: nothing remembered"),
            reason=Reason.UNSUPPORTED,
        )
    return _within_rate(check, box, found, allowed[0])


def _unresolved(refusal: Refusal) -> Resolved:
    """What is known of a name that leads nowhere now; the address is still to be chosen."""
    return Resolved(
        address="",
        addresses=refusal.answers,
        ttl_s=refusal.dns_ttl_s,
        rcode=refusal.dns_rcode,
        dns_flags=refusal.dns_flags,
        resolve_us=refusal.resolve_us,
        attempts=(*refusal.earlier, refusal.attempt),
    )


def _resolved(answer: Answer) -> Resolved:
    return Resolved(
        address=answer.reply.values[0],
        addresses=answer.reply.values,
        ttl_s=answer.reply.ttl_s,
        rcode=answer.reply.rcode,
        dns_flags=answer.flags,
        resolve_us=answer.waited_us,
        attempts=answer.attempts,
    )


def refusal_by(
    answer: Answer, *, usable: int | None = None, outside: tuple[str, ...] = ()
) -> Refusal | None:
    """What is wrong with a reply, if anything.

    `usable` counts what answers the question (None: the records of the type asked for), `outside`
    are addresses that are not expected.
    """
    reply = answer.reply
    count = len(reply.values) if usable is None else usable
    decided = classify_dns(DnsFacts(rcode=reply.rcode, usable=count, outside=outside))
    if decided is None:
        return None
    attempt = replace(
        answer.attempts[-1],
        failure=decided.failure,
        classified_by=decided.sentence,
        detail=" ".join(outside) or f"rcode {reply.rcode}, {len(reply.answers)} records",
    )
    return Refusal(
        operation=Operation.RESOLVE,
        attempt=attempt,
        earlier=answer.attempts[:-1],
        failure=decided.failure,
        retransmits=answer.retransmits,
        dns_rcode=reply.rcode,
        dns_flags=answer.flags,
        dns_ttl_s=reply.ttl_s,
        resolve_us=answer.waited_us,
        answers=reply.values,
    )


def _choose(check: Check, box: Toolbox, found: Resolved) -> Resolved | Refusal:
    """One of the allowed addresses, by the number of the slot."""
    if len(found.addresses) == 1 and box.why_barred(found.address) is None:
        return _within_rate(check, box, found, found.address)
    reasons = {text: box.why_barred(text) for text in found.addresses}
    allowed = [text for text, why in reasons.items() if why is None]
    if not allowed:
        return _barred_after(check, found, "; ".join(why for why in reasons.values() if why))
    return _within_rate(check, box, found, allowed[box.turn(check) % len(allowed)])


def _within_rate(check: Check, box: Toolbox, found: Resolved, address: str) -> Resolved | Refusal:
    if not box.may_contact(address):
        # Not the next address instead: vantages with the same answer look at the same one.
        return _barred_after(check, found, over_rate(address), by=OVER_RATE)
    return found if address == found.address else replace(found, address=address)


def over_rate(address: str) -> str:
    """Why an address is not contacted now, and what the operator can do."""
    return (
        f"{address} was contacted as often as limits.per_target_per_minute of probe.toml allows, "
        "by whatever names; raise it, or plan fewer checks"
    )


def _barred_after(check: Check, found: Resolved, why: str, *, by: str = ADDRESS_POLICY) -> Refusal:
    return replace(
        barred(check, why, by=by),
        earlier=found.attempts,
        answers=found.addresses if found.attempts else (),
        dns_rcode=found.rcode,
        dns_flags=found.dns_flags,
        dns_ttl_s=found.ttl_s,
        resolve_us=found.resolve_us,
    )


def barred(check: Check, why: str, *, by: str = ADDRESS_POLICY) -> Refusal:
    """A step that this vantage does not take, by its own rules."""
    attempt = Attempt(
        operation=first_operation(check),
        address=None,
        elapsed_us=None,
        stamp_source=None,
        failure=None,
        classified_by=by,
        detail=why,
    )
    return Refusal(operation=attempt.operation, attempt=attempt, reason=Reason.POLICY)
