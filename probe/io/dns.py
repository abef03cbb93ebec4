"""Ask a name server one question over UDP, over TCP where the reply was cut.

`getaddrinfo` hides what matters: a lost packet costs it five silent seconds, SERVFAIL and REFUSED
look alike, and it cannot be cancelled. Here every try is seen: two at most, over a connected socket
(so that a closed port answers with its ICMP error), each with its own identifier, so that an answer
to the first try still counts, with the right round trip, while the second is under way.

Source: RFC 1035 section 4.2, RFC 7766 (TCP), RFC 5452 (what makes a reply ours).
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from probe.core.classify import (
    Classified,
    DnsFacts,
    NetworkFacts,
    classify_dns,
    classify_network,
    describe_network,
)
from probe.core.dnswire import (
    MESSAGE_BYTES_MAX,
    DnsFormError,
    Query,
    Reply,
    build_query,
    read_reply,
)
from probe.core.endpoint import Endpoint
from probe.core.outcome import Attempt, IcmpError, Refusal
from probe.io import errqueue, stamps
from probe.io.tcp import Connected, connect
from probe.io.ways import way_to
from proto.model import Failure, Operation, StampSource

TRIES: Final = 2
# The first try gets this share of the time that is left, so that the second has a fair chance.
_FIRST_SHARE: Final = 0.4
_FORMERR: Final = 1
# Answers that another resolver may put right; any other answer is about the name itself.
_ASK_ANOTHER: Final = frozenset({2, 4, 5, 9})  # SERVFAIL, NOTIMP, REFUSED, NOTAUTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply that belongs to the question, whatever it says."""

    server: Endpoint
    reply: Reply
    rtt_us: int  # of the try that was answered
    stamp_source: StampSource
    tries: int
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask, and by when."""

    name: str
    qtype: str
    deadline: float  # trio's clock
    source: str | None = None  # bound towards servers of its family

    def source_for(self, server: Endpoint) -> str | None:
        """The address to bind for this server."""
        if self.source is None or (":" in self.source) != (":" in server.address):
            return None
        return self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    query: Query
    sent_ns: int
    sent_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """A reply, or why there is none."""

    reply: Reply | None = None
    query: Query | None = None
    rtt_us: int | None = None
    stamp_source: StampSource | None = None
    trouble: Classified | None = None
    detail: str = ""
    icmp: IcmpError | None = None


@dataclass(slots=True)
class _Conversation:
    """One server on one connected socket, and the queries sent to it."""

    server: Endpoint
    sock: socket.socket
    sent: list[_Sent] = field(default_factory=list)


async def ask(question: Question, servers: Sequence[Endpoint]) -> Answer | Refusal:
    """Ask the servers in turn, twice at most, until one gives an answer about the name.

    Raises:
        DnsFormError: the name or type cannot be asked for; nothing was sent.
    """
    build_query(question.name, question.qtype, ident=0)
    attempts: list[Attempt] = []
    kept: Answer | Refusal | None = None
    edns = True
    with ExitStack() as stack:
        open_: dict[Endpoint, _Conversation] = {}
        for number in range(TRIES):
            server = servers[number % len(servers)]
            started = trio.current_time()
            heard = await _try(question, open_, stack, server=server, number=number, edns=edns)
            attempts.append(_attempt(server, heard, started))
            outcome = _outcome(server, heard, tuple(attempts))
            kept = outcome if kept is None or _says_more(outcome, kept) else kept
            edns = heard.reply is None or heard.reply.rcode != _FORMERR
            if not _worth_another(heard, others=len(servers) > 1):
                break
    assert kept is not None, "TRIES is at least one"
    if isinstance(kept, Answer):
        return replace(kept, attempts=tuple(attempts), tries=len(attempts))
    earlier = tuple(attempt for attempt in attempts if attempt is not kept.attempt)
    return replace(kept, retransmits=len(attempts) - 1, earlier=earlier)


def _worth_another(heard: _Heard, *, others: bool) -> bool:
    """Could a second try say more? An answer about the name is final; silence never is."""
    if heard.trouble is not None:
        return others or heard.trouble.failure is Failure.DNS_TIMEOUT
    rcode = heard.reply.rcode if heard.reply is not None else None
    return rcode == _FORMERR or (others and rcode in _ASK_ANOTHER)


def _says_more(new: Answer | Refusal, old: Answer | Refusal) -> bool:
    """A reply says more than an error, an error more than silence; of equals the last counts."""
    return _worth(new) >= _worth(old)


def _worth(outcome: Answer | Refusal) -> int:
    if isinstance(outcome, Answer):
        return 3 if outcome.reply.rcode in {0, 3} else 2
    return 0 if outcome.failure is Failure.DNS_TIMEOUT else 1


# --- One try --------------------------------------------------------------------------------------


async def _try(
    question: Question,
    open_: dict[Endpoint, _Conversation],
    stack: ExitStack,
    *,
    server: Endpoint,
    number: int,
    edns: bool,
) -> _Heard:
    """Send one query and wait for the reply to it or to one before it."""
    left = question.deadline - trio.current_time()
    until = question.deadline if number == TRIES - 1 else trio.current_time() + left * _FIRST_SHARE
    try:
        if server not in open_:
            open_[server] = _Conversation(server, _socket_to(server, question, stack))
        _send(open_[server], question, edns=edns)
    except OSError as error:
        return _network_trouble(server, error.errno, icmp=None, immediate=True)
    heard = await _hear(open_[server], until)
    if heard.reply is not None and heard.reply.truncated and heard.query is not None:
        return await _over_tcp(heard, heard.query, server, question)
    return heard


def _socket_to(server: Endpoint, question: Question, stack: ExitStack) -> socket.socket:
    source = question.source_for(server)
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    stack.callback(sock.close)
    stamps.switch_on(sock)
    errqueue.switch_on(sock)
    if source is not None:
        sock.bind((source, 0))
    sock.connect((server.address, server.port))
    return sock


def _send(conversation: _Conversation, question: Question, *, edns: bool) -> None:
    ident = secrets.randbelow(1 << 16)
    query = build_query(question.name, question.qtype, ident=ident, edns=edns)
    sent = _Sent(query=query, sent_at=trio.current_time(), sent_ns=stamps.now_ns())
    conversation.sock.send(query.wire)
    conversation.sent.append(sent)


async def _hear(conversation: _Conversation, until: float) -> _Heard:
    """The first reply that is ours, or what went wrong, or silence.

    After `until` the socket is looked at once more: what arrived in time counts though our loop was
    late to see it.
    """
    with trio.move_on_at(until):
        while True:
            await trio.lowlevel.wait_readable(conversation.sock)
            heard = _take(conversation)
            if heard is not None:
                return heard
    return _take(conversation) or _network_trouble(conversation.server, None, icmp=None)


def _take(conversation: _Conversation) -> _Heard | None:
    """What waits on the socket, strangers' datagrams passed over; None when there is nothing."""
    while True:
        try:
            wire, ancillary, _, _ = conversation.sock.recvmsg(
                MESSAGE_BYTES_MAX, stamps.ANCILLARY_BYTES
            )
        except BlockingIOError:
            return None
        except OSError as error:
            icmp = errqueue.take_icmp(conversation.sock)
            return _network_trouble(conversation.server, error.errno, icmp=icmp)
        heard = _read(conversation, wire, stamps.read_stamp(ancillary))
        if heard is not None:
            return heard


def _read(conversation: _Conversation, wire: bytes, stamp_ns: int | None) -> _Heard | None:
    for sent in conversation.sent:
        try:
            reply = read_reply(wire, sent.query)
        except DnsFormError as error:
            trouble = classify_dns(DnsFacts(malformed=str(error)))
            return _Heard(trouble=trouble, detail=str(error))
        if reply is not None:
            elapsed_us = round((trio.current_time() - sent.sent_at) * 1e6)
            rtt_us, clock = stamps.round_trip(
                sent_ns=sent.sent_ns, stamp_ns=stamp_ns, elapsed_us=elapsed_us
            )
            return _Heard(reply=reply, query=sent.query, rtt_us=rtt_us, stamp_source=clock)
    return None


def _network_trouble(
    server: Endpoint, number: int | None, *, icmp: IcmpError | None, immediate: bool = False
) -> _Heard:
    way = None if icmp is None else way_to(server.address)
    facts = NetworkFacts(
        operation=Operation.RESOLVE,
        errno=number,
        icmp=icmp,
        asked=server.address,
        own=None if way is None else way.own,
        gateway=None if way is None else way.gateway,
        immediate=immediate,
        datagram=True,
    )
    return _Heard(trouble=classify_network(facts), detail=describe_network(facts), icmp=icmp)


# --- TCP, for replies that were cut ---------------------------------------------------------------


async def _over_tcp(cut: _Heard, query: Query, server: Endpoint, question: Question) -> _Heard:
    """The same question over TCP. The round trip stays that of the UDP reply."""
    connected = await connect(
        server.address,
        server.port,
        deadline=question.deadline,
        source=question.source_for(server),
    )
    if isinstance(connected, Refusal):
        return _tcp_trouble(connected)
    with connected.sock:
        wire: bytes | None = None
        try:
            with trio.move_on_at(question.deadline):
                wire = await _exchange(connected, query.wire)
        except OSError as error:
            return _network_trouble(server, error.errno, icmp=None)
    if wire is None:
        return _network_trouble(server, None, icmp=None)
    try:
        reply = read_reply(wire, query)
        if reply is None:
            raise DnsFormError("the reply over TCP answers another question")  # noqa: TRY301 - one way out
    except DnsFormError as error:
        return _Heard(trouble=classify_dns(DnsFacts(malformed=str(error))), detail=str(error))
    return replace(cut, reply=reply, detail="cut over UDP, whole over TCP")


def _tcp_trouble(refusal: Refusal) -> _Heard:
    failure = refusal.attempt.failure or Failure.UNKNOWN
    word = Failure.DNS_TIMEOUT if failure is Failure.TIMEOUT else failure
    sentence = f"reply cut over UDP, then TCP: {refusal.attempt.classified_by}"
    return _Heard(
        trouble=Classified(word, sentence), detail=refusal.attempt.detail, icmp=refusal.icmp
    )


async def _exchange(connected: Connected, wire: bytes) -> bytes:
    """Send a message with its length before it and read one; what came until the peer closed."""
    sock = connected.sock
    unsent = memoryview(len(wire).to_bytes(2, "big") + wire)
    while unsent:
        await trio.lowlevel.wait_writable(sock)
        unsent = unsent[sock.send(unsent) :]
    received = b""
    while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
        await trio.lowlevel.wait_readable(sock)
        chunk = sock.recv(MESSAGE_BYTES_MAX)
        if not chunk:
            break
        received += chunk
    return received[2:]


# --- What to say of it ----------------------------------------------------------------------------


def _attempt(server: Endpoint, heard: _Heard, started: float) -> Attempt:
    trouble = heard.trouble
    waited_us = round((trio.current_time() - started) * 1e6)
    return Attempt(
        operation=Operation.RESOLVE,
        address=str(server),
        elapsed_us=waited_us if heard.rtt_us is None else heard.rtt_us,
        stamp_source=heard.stamp_source or StampSource.USER,
        failure=None if trouble is None else trouble.failure,
        classified_by="reply received" if trouble is None else trouble.sentence,
        detail=heard.detail,
    )


def _outcome(server: Endpoint, heard: _Heard, attempts: tuple[Attempt, ...]) -> Answer | Refusal:
    if heard.reply is None or heard.rtt_us is None or heard.stamp_source is None:
        assert heard.trouble is not None, "without a reply something is known to be wrong"
        return Refusal(
            operation=Operation.RESOLVE,
            attempt=attempts[-1],
            failure=heard.trouble.failure,
            icmp=heard.icmp,
        )
    return Answer(
        server=server,
        reply=heard.reply,
        rtt_us=heard.rtt_us,
        stamp_source=heard.stamp_source,
        tries=len(attempts),
        attempts=attempts,
    )
