"""Ask name servers one question, with what can be known when no answer comes.

`getaddrinfo` hides what matters: a lost packet costs it five silent seconds, SERVFAIL and REFUSED
look alike, and it cannot be cancelled. Here every try is seen: two, or one for each of up to three
resolvers, over a connected socket (so that a closed port answers with its ICMP error), each with its own identifier, so that an answer
to the first try still counts, with the right round trip, while the second is under way. A server
that cannot read EDNS is asked once more without, which is no second try: nothing was lost.

Source: RFC 6891 section 7 (servers without EDNS).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

import trio

from probe.core.dnswire import Reply
from probe.core.endpoint import Endpoint
from probe.core.outcome import Attempt, Refusal
from probe.io.dnstalk import (
    Conversation,
    Heard,
    Question,
    ask_over_tcp,
    hear,
    network_trouble,
    open_conversation,
    send,
)
from proto.model import Failure, Operation, StampSource

__all__ = ["Answer", "Question", "ask"]

# Each resolver gets its try, as many as resolv.conf may name; a lone one gets a second.
_TRIES: Final = (2, 3)
# A try gets this share of the time that is left, so that the next has a fair chance.
_FIRST_SHARE: Final = 0.4
_FORMERR: Final = 1
# Answers that another resolver may put right; any other answer is about the name itself.
_ASK_ANOTHER: Final = frozenset({_FORMERR, 2, 4, 5, 9})  # SERVFAIL, NOTIMP, REFUSED, NOTAUTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply that belongs to the question, whatever it says."""

    server: Endpoint
    reply: Reply
    flags: str  # of the reply, and "tcp" where it came over TCP
    rtt_us: int  # of the try that was answered
    stamp_source: StampSource
    waited_us: int  # from the first query to the reply
    tries: int
    retransmits: int  # queries repeated after silence
    attempts: tuple[Attempt, ...]


@dataclass(slots=True, kw_only=True)
class _Asking:
    """One question under way: whom we talk to, and who cannot read EDNS."""

    question: Question
    sockets: ExitStack
    open: dict[Endpoint, Conversation]
    without_edns: set[Endpoint]
    first_at: float | None = None  # when the first query left, on trio's clock


async def ask(question: Question, servers: Sequence[Endpoint]) -> Answer | Refusal:
    """Ask the servers in turn, twice or up to three of them once, until one gives an answer about the name.

    Raises:
        DnsFormError: the name or type cannot be asked for; nothing was sent.
    """
    question.query(ident=0, edns=True)
    attempts: list[Attempt] = []
    kept: Answer | Refusal | None = None
    least, most = _TRIES
    count = min(max(least, len(servers)), most)
    to_try = [servers[number % len(servers)] for number in range(count)]
    with ExitStack() as sockets:
        asking = _Asking(question=question, sockets=sockets, open={}, without_edns=set())
        while to_try:
            server = to_try.pop(0)
            started = trio.current_time()
            heard = await _try(asking, server, until=_until(question, following=len(to_try)))
            attempts.append(_attempt(server, heard, started))
            outcome = _outcome(server, heard, tuple(attempts), first_at=asking.first_at)
            kept = outcome if kept is None or _says_more(outcome, kept) else kept
            if _refuses_edns(heard) and server not in asking.without_edns:
                asking.without_edns.add(server)
                to_try.insert(0, server)
            elif not _worth_another(heard, others=len(servers) > 1) or _is_over(question):
                break
    assert kept is not None, "one try at least"
    if isinstance(kept, Answer):
        return replace(
            kept, attempts=tuple(attempts), tries=len(attempts), retransmits=_repeated(attempts)
        )
    earlier = tuple(attempt for attempt in attempts if attempt is not kept.attempt)
    return replace(kept, retransmits=_repeated(attempts), earlier=earlier)


def _repeated(attempts: Sequence[Attempt]) -> int:
    """How many queries followed one that met silence; an unwelcome answer is no loss."""
    return sum(attempt.failure is Failure.DNS_TIMEOUT for attempt in attempts[:-1])


def _until(question: Question, *, following: int) -> float:
    """When the try that begins now gives way to the one that follows, on trio's clock."""
    now = trio.current_time()
    return now + (question.deadline - now) * _FIRST_SHARE if following else question.deadline


def _is_over(question: Question) -> bool:
    return trio.current_time() >= question.deadline


def _refuses_edns(heard: Heard) -> bool:
    return heard.trouble is None and heard.reply is not None and heard.reply.rcode == _FORMERR


def _worth_another(heard: Heard, *, others: bool) -> bool:
    """Could a second try say more? An answer about the name is final; silence never is."""
    if heard.trouble is not None:
        return others or heard.trouble.failure is Failure.DNS_TIMEOUT
    return others and heard.reply is not None and heard.reply.rcode in _ASK_ANOTHER


def _says_more(new: Answer | Refusal, old: Answer | Refusal) -> bool:
    """A reply says more than an error, an error more than silence; of equals the last counts."""
    return _worth(new) >= _worth(old)


def _worth(outcome: Answer | Refusal) -> int:
    if isinstance(outcome, Answer):
        return 3 if outcome.reply.rcode in {0, 3} else 2
    return 0 if outcome.failure is Failure.DNS_TIMEOUT else 1


async def _try(asking: _Asking, server: Endpoint, *, until: float) -> Heard:
    """Send one query and wait for the reply to it or to one before it."""
    question = asking.question
    try:
        if server not in asking.open:
            asking.open[server] = open_conversation(server, question, asking.sockets)
        send(asking.open[server], question, edns=server not in asking.without_edns)
        asking.first_at = asking.first_at or asking.open[server].sent[0].sent_at
    except OSError as error:
        return network_trouble(server, error.errno, immediate=True)
    heard = await hear(asking.open[server], until, deadline=question.deadline)
    if heard.reply is not None and heard.reply.truncated:
        return await ask_over_tcp(heard, server, question, deadline=until)
    return heard


# --- What to say of it ----------------------------------------------------------------------------


def _attempt(server: Endpoint, heard: Heard, started: float) -> Attempt:
    trouble = heard.trouble
    waited_us = round((trio.current_time() - started) * 1e6)
    timed = trouble is None and heard.rtt_us is not None and heard.stamp_source is not None
    return Attempt(
        operation=Operation.RESOLVE,
        address=str(server),
        elapsed_us=heard.rtt_us if timed else waited_us,
        stamp_source=heard.stamp_source if timed else StampSource.USER,
        failure=None if trouble is None else trouble.failure,
        classified_by="reply received" if trouble is None else trouble.sentence,
        detail=heard.detail,
    )


def _outcome(
    server: Endpoint, heard: Heard, attempts: tuple[Attempt, ...], *, first_at: float | None
) -> Answer | Refusal:
    if heard.trouble is not None:
        return Refusal(
            operation=Operation.RESOLVE,
            attempt=attempts[-1],
            failure=heard.trouble.failure,
            icmp=heard.icmp,
            server=server,
            dns_rcode=None if heard.reply is None else heard.reply.rcode,
            dns_flags=heard.flags,
        )
    assert heard.reply is not None, "without a reply something is known to be wrong"
    assert heard.rtt_us is not None, "a reply has its round trip"
    assert heard.stamp_source is not None, "by some clock"
    return Answer(
        server=server,
        reply=heard.reply,
        flags=heard.flags or "",
        rtt_us=heard.rtt_us,
        stamp_source=heard.stamp_source,
        waited_us=_waited_us(heard, first_at),
        tries=len(attempts),
        retransmits=_repeated(attempts),
        attempts=attempts,
    )


def _waited_us(heard: Heard, first_at: float | None) -> int:
    """From the first query to the reply, lost ones and a second way over TCP included."""
    assert heard.rtt_us is not None, "a reply has its round trip"
    assert heard.sent_at is not None, "and the query that it answers"
    assert first_at is not None, "which was not sent before the first"
    if heard.over_tcp:
        return round((trio.current_time() - first_at) * 1e6)
    return round((heard.sent_at - first_at) * 1e6) + heard.rtt_us
