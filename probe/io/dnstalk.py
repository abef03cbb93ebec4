"""Talk with one name server: queries over a connected UDP socket, over TCP where a reply was cut.

What makes a reply ours is its sender (the socket is connected: the kernel passes on nothing from
anybody else), its identifier and its question. Whatever else arrives is passed over and counted:
who wants to forge an answer has to guess, and a guess must not end the wait for the real one. A
complaint without the question, or bytes that cannot be read, count only where nothing better comes.

Source: RFC 1035 section 4.2, RFC 7766 (TCP), RFC 5452 (what makes a reply ours).
"""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

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
from probe.core.outcome import IcmpError, Refusal
from probe.io import errqueue, stamps
from probe.io.tcp import Connected, connect
from probe.io.ways import way_to
from proto.model import Failure, Operation, StampSource

_LENGTH_BYTES = 2  # before each message over TCP
# Datagrams read in one look: more than a socket holds at first. A server that sends without a pause
# would keep the loop from all other checks, and its own from ever ending.
_BATCH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask, and by when."""

    name: str
    qtype: str
    deadline: float  # trio's clock
    source: str | None = None  # bound towards servers of its family
    recursive: bool = True  # False: for a zone's own server, which is to say what it knows itself

    def source_for(self, server: Endpoint) -> str | None:
        """The address to bind for this server."""
        if self.source is None or (":" in self.source) != (":" in server.address):
            return None
        return self.source

    def query(self, *, ident: int, edns: bool) -> Query:
        """Its bytes. Raises DnsFormError when the name or the type cannot be asked for."""
        return build_query(self.name, self.qtype, ident=ident, edns=edns, recursive=self.recursive)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A reply, or why there is none.

    With `trouble` beside a reply, that reply was cut and the whole one could not be had.
    """

    reply: Reply | None = None
    query: Query | None = None
    rtt_us: int | None = None
    stamp_source: StampSource | None = None
    over_tcp: bool = False
    trouble: Classified | None = None
    detail: str = ""
    icmp: IcmpError | None = None
    sent_at: float | None = None  # the query that was answered left, on trio's clock
    is_doubtful: bool = False  # whoever guessed the identifier could have sent it

    @property
    def flags(self) -> str | None:
        """As dig prints them, and "tcp" where the reply came over TCP; None without a reply."""
        if self.reply is None:
            return None
        return f"{self.reply.flags} tcp".strip() if self.over_tcp else self.reply.flags


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    query: Query
    sent_ns: int
    sent_at: float


@dataclass(slots=True, kw_only=True)
class Conversation:
    """One server on one connected socket, and the queries sent to it."""

    server: Endpoint
    sock: socket.socket
    sent: list[_Sent] = field(default_factory=list)
    doubtful: Heard | None = None  # the first reply that may be a stranger's
    passed_over: int = 0  # datagrams that answer nothing that we asked


def open_conversation(server: Endpoint, question: Question, stack: ExitStack) -> Conversation:
    """A socket to the server, closed with the stack. Raises OSError."""
    source = question.source_for(server)
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    stack.callback(sock.close)
    stamps.switch_on(sock)
    errqueue.switch_on(sock)
    if source is not None:
        sock.bind((source, 0))
    sock.connect((server.address, server.port))
    return Conversation(server=server, sock=sock)


def send(conversation: Conversation, question: Question, *, edns: bool) -> None:
    """One query, under an identifier of its own. Raises OSError."""
    query = question.query(ident=secrets.randbelow(1 << 16), edns=edns)
    sent = _Sent(query=query, sent_at=trio.current_time(), sent_ns=stamps.now_ns())
    conversation.sock.send(query.wire)
    conversation.sent.append(sent)


async def hear(conversation: Conversation, until: float, *, deadline: float) -> Heard:
    """The first reply that is ours, or what went wrong, or silence.

    After `until` the socket is looked at once more: what arrived by the deadline counts though our
    loop was late to see it, and what arrived later does not. A reply that is malformed or does not
    repeat the question counts only where no better one comes.
    """
    conversation.doubtful = None
    heard = None
    before = conversation.passed_over
    with trio.move_on_at(until):
        while heard is None:
            await trio.lowlevel.wait_readable(conversation.sock)
            heard = _take(conversation)
    heard = heard or _take(conversation) or conversation.doubtful
    if heard is None or _is_late(heard, deadline):
        heard = network_trouble(conversation.server, None)
    passed_over = conversation.passed_over - before
    if not passed_over:
        return heard
    strangers = f"{passed_over} datagrams passed over: their identifier or question is not ours"
    return replace(heard, detail=f"{heard.detail}; {strangers}" if heard.detail else strangers)


def _is_late(heard: Heard, deadline: float) -> bool:
    if heard.sent_at is None or heard.rtt_us is None:
        return False
    return heard.rtt_us > (deadline - heard.sent_at) * 1e6


def _take(conversation: Conversation) -> Heard | None:
    """What waits on the socket, strangers' datagrams passed over; None when there is nothing."""
    for _ in range(_BATCH):
        try:
            wire, ancillary, _, _ = conversation.sock.recvmsg(
                MESSAGE_BYTES_MAX, stamps.ANCILLARY_BYTES
            )
        except BlockingIOError:
            return None
        except OSError as error:
            icmp = errqueue.take_icmp(conversation.sock)
            return network_trouble(conversation.server, error.errno, icmp=icmp)
        heard = _read(conversation, wire, stamps.read_stamp(ancillary))
        if heard is not None and not heard.is_doubtful:
            return heard
        if heard is not None:
            conversation.doubtful = conversation.doubtful or heard
            continue
        conversation.passed_over += 1
    return None


def _read(conversation: Conversation, wire: bytes, stamp_ns: int | None) -> Heard | None:
    for sent in conversation.sent:
        try:
            reply = read_reply(wire, sent.query)
        except DnsFormError as error:
            return replace(_malformed(error), is_doubtful=True)
        if reply is not None:
            elapsed_us = round((trio.current_time() - sent.sent_at) * 1e6)
            rtt_us, clock = stamps.round_trip(
                sent_ns=sent.sent_ns, stamp_ns=stamp_ns, elapsed_us=elapsed_us
            )
            return Heard(
                reply=reply,
                query=sent.query,
                sent_at=sent.sent_at,
                rtt_us=rtt_us,
                stamp_source=clock,
                is_doubtful=not reply.repeats_question,
            )
    return None


def _malformed(error: DnsFormError) -> Heard:
    return Heard(trouble=classify_dns(DnsFacts(malformed=str(error))), detail=str(error))


def network_trouble(
    server: Endpoint, number: int | None, *, icmp: IcmpError | None = None, immediate: bool = False
) -> Heard:
    """What the kernel said instead of a reply; without `number` it said nothing at all."""
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
    return Heard(trouble=classify_network(facts), detail=describe_network(facts), icmp=icmp)


# --- TCP, for replies that were cut ---------------------------------------------------------------


async def ask_over_tcp(
    cut: Heard, server: Endpoint, question: Question, *, deadline: float
) -> Heard:
    """The whole of a reply that was cut; the round trip stays that of the UDP reply.

    Where it cannot be had, what the cut one says stays known beside the trouble.
    """
    whole = await _ask_over_tcp(cut, server, question, deadline=deadline)
    if whole.trouble is None:
        return whole
    return replace(cut, trouble=whole.trouble, icmp=whole.icmp, detail=whole.detail)


async def _ask_over_tcp(
    cut: Heard, server: Endpoint, question: Question, *, deadline: float
) -> Heard:
    assert cut.query is not None, "a reply answers a query"
    connected = await connect(
        server.address, server.port, deadline=deadline, source=question.source_for(server)
    )
    if isinstance(connected, Refusal):
        return _tcp_trouble(connected)
    with connected.sock:
        try:
            with trio.move_on_at(deadline):
                reply = read_reply(await _exchange(connected, cut.query.wire), cut.query)
                if reply is None:
                    return _malformed(DnsFormError("the reply over TCP answers another question"))
                return replace(
                    cut, reply=reply, over_tcp=True, detail="cut over UDP, whole over TCP"
                )
        except DnsFormError as error:
            return _malformed(error)
        except OSError as error:
            return network_trouble(server, error.errno)
    return network_trouble(server, None)


def _tcp_trouble(refusal: Refusal) -> Heard:
    failure = refusal.attempt.failure or Failure.UNKNOWN
    word = Failure.DNS_TIMEOUT if failure is Failure.TIMEOUT else failure
    sentence = f"reply cut over UDP, then TCP: {refusal.attempt.classified_by}"
    return Heard(
        trouble=Classified(word, sentence), detail=refusal.attempt.detail, icmp=refusal.icmp
    )


async def _exchange(connected: Connected, wire: bytes) -> bytes:
    """Send a message with its length before it and read one.

    Raises:
        DnsFormError: the peer closed before the length that it announced.
        OSError: the connection broke.
    """
    sock = connected.sock
    unsent = memoryview(len(wire).to_bytes(_LENGTH_BYTES, "big") + wire)
    while unsent:
        await trio.lowlevel.wait_writable(sock)
        unsent = unsent[sock.send(unsent) :]
    received = b""
    end = _LENGTH_BYTES
    while len(received) < end:
        await trio.lowlevel.wait_readable(sock)
        chunk = sock.recv(MESSAGE_BYTES_MAX)
        if not chunk:
            raise DnsFormError(f"message ends at {len(received)} of {end} bytes: TCP was closed")
        received += chunk
        if len(received) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(received[:_LENGTH_BYTES], "big")
    return received[_LENGTH_BYTES:end]
