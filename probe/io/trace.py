"""A trace on the wire: echo requests or connections to the real port, without privileges.

Each trace has sockets of its own, so that its small times to live and the errors it provokes touch
no other check. By ICMP, one datagram socket sends all requests; only their sequence numbers differ,
and the checksum is held constant by a word that makes up for them, so that load balancers which
hash the head of a packet send all of a trace one way. By TCP, every packet is a connection of its
own and may be balanced another way: what a user's connections are, too.

A connection is abandoned before the kernel repeats its SYN. LISTENERS of the last round listen on
until LISTEN_S, because a last router needs three seconds to learn that a host is not there; where a
SYN was repeated a router's answer has no round trip, because nobody knows to which of them it is.
So a trace by TCP sends at most `max_hops * packets` SYNs and three more for each listener, and where
this machine wakes us late one more for each of the WINDOW connections that wait just then. A target
that accepted gets the end of the handshake and a reset, in place of a farewell that is repeated.

Where only a raw socket is permitted (CAP_NET_RAW) it takes the datagram socket's place. Raw ones are
opened with the toolbox, because the right to open them is given up, and go from trace to trace.

Source: ip(7), section IP_RECVERR; icmp(7); tcp(7); Linux tcp_syn_linear_timeouts (ip-sysctl).
"""

from __future__ import annotations

import errno
import math
import secrets
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from probe.core.icmpwire import TOKEN_BYTES, echo_request, read_echo, steady_token
from probe.core.outcome import Outcome, Refusal, Resolved, not_run, refused
from probe.core.trace import Aim, Answer, Course, Packet
from probe.io import errqueue, stamps
from probe.io.box import Toolbox
from probe.io.icmpsocket import EchoSocket, IcmpUnavailable, open_echo_socket
from probe.io.resolve import resolve
from probe.io.tcp import prepare, tcp_info
from probe.io.ways import way_to
from proto.model import Check, Reason, StampSource

WAIT_MAX_S: Final = 0.9
"""A silent packet's hold on the window: the kernel repeats a SYN after a second."""

LISTEN_S: Final = 3.5
"""After sending: time for three attempts of a router to find a host, and three SYNs at the most."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, for no time

_TTL: Final = {
    4: (socket.IPPROTO_IP, socket.IP_TTL),
    6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
# An error that arrives between the clearing of the queue and the next send spoils that one too.
_SENDS_MAX: Final = 4
_BATCH: Final = 64
_REPLY_BYTES: Final = 128

Tell = Callable[[Packet, Answer], None]


class _Wire(Protocol):
    """How the packets of one trace travel."""

    def send(self, packet: Packet) -> int | None:
        """Send; the errno where this machine cannot."""

    def start(self, nursery: trio.Nursery) -> None:
        """Receive for as long as the nursery lives."""

    def close(self) -> None:
        """Take in what came, and give the sockets back."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """When a packet left, by the clock of the stamps and by one that only goes forward."""

    wall_ns: int
    monotonic_ns: int

    @staticmethod
    def now() -> _Sent:
        """Right before the send."""
        return _Sent(stamps.now_ns(), time.perf_counter_ns())

    def round_trip(self, stamp_ns: int | None) -> tuple[int, StampSource]:
        """To an answer with this stamp, read now."""
        elapsed_us = (time.perf_counter_ns() - self.monotonic_ns) // 1000
        return stamps.round_trip(sent_ns=self.wall_ns, stamp_ns=stamp_ns, elapsed_us=elapsed_us)


async def run_trace(check: Check, box: Toolbox) -> Outcome:
    """One trace to one address; good when the target answered."""
    started = trio.current_time()
    deadline = started + check.timeout_s
    resolved = await resolve(check, box, deadline=deadline)
    if isinstance(resolved, Refusal):
        return refused(check, resolved)
    course = Course(_aim(check, resolved, left_s=deadline - trio.current_time()))
    changed = _Bell()

    def tell(packet: Packet, answer: Answer) -> None:
        course.answered(packet, answer)
        changed.ring()

    try:
        wire = _wire(check, course, box, tell)
    except IcmpUnavailable as error:
        first = course.take(trio.current_time())
        if error.errno is None or first is None:
            return not_run(check, reason=Reason.UNSUPPORTED, why=str(error))
        course.fail(first, error.errno)
    else:
        try:
            with trio.move_on_at(deadline):
                await _travel(course, wire, changed)
        finally:
            wire.close()
    now_s = trio.current_time()
    return course.outcome(check, resolved, now_s=now_s, total_us=round((now_s - started) * 1e6))


def _aim(check: Check, resolved: Resolved, *, left_s: float) -> Aim:
    way = way_to(resolved.address)
    packets = max(1, check.packets)
    return Aim(
        address=resolved.address,
        own=way.own,
        gateway=way.gateway,
        max_hops=check.max_hops,
        packets=packets,
        # One round for each packet of a hop, and one to find the end.
        wait_s=min(WAIT_MAX_S, max(0.0, left_s) / (packets + 1)),
    )


class _Bell:
    """Wakes who sends when an answer changed what to send."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait_until(self, at_s: float) -> None:
        """Until the next ring, or this moment of trio's clock."""
        with trio.move_on_at(at_s):
            await self._event.wait()
        self._event = trio.Event()


async def _travel(course: Course, wire: _Wire, changed: _Bell) -> None:
    async with trio.open_nursery() as nursery:
        wire.start(nursery)
        while not course.is_over(trio.current_time()):
            now_s = trio.current_time()
            packet = course.take(now_s)
            if packet is None:
                again_s = course.look_again_s(now_s)
                await changed.wait_until(math.inf if again_s is None else again_s)
                continue
            number = wire.send(packet)
            if number is not None:
                course.fail(packet, number)
        nursery.cancel_scope.cancel()


def _wire(check: Check, course: Course, box: Toolbox, tell: Tell) -> _Wire:
    """Raises IcmpUnavailable where this machine lets us open no ICMP socket."""
    source = box.source_for(course.aim.address)
    if check.port is None:
        shelf = box.trace_sockets.get(check.family, [])
        return _Echoes(course.aim, check.family, source, shelf, tell)
    return _Connections(course, check.family, check.port, source, tell)


# --- by ICMP --------------------------------------------------------------------------------------


class _Echoes:
    """Echo requests over one socket: from the shelf, if any lies there, and then put back."""

    def __init__(
        self, aim: Aim, family: int, source: str | None, shelf: list[EchoSocket], tell: Tell
    ) -> None:
        self._address = aim.address
        self._family = family
        self._tell = tell
        self._secret = secrets.token_bytes(TOKEN_BYTES - 2)
        self._sent: dict[int, _Sent] = {}
        self._shelf = shelf or None
        self._echo_socket = (
            shelf.pop().renewed() if shelf else open_echo_socket(family, source=source)
        )
        self._sock = self._echo_socket.sock

    def start(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._receive)

    def close(self) -> None:
        self._drain()
        if self._shelf is None:
            self._echo_socket.close()
        else:
            self._echo_socket.rest()
            self._shelf.append(self._echo_socket)

    def send(self, packet: Packet) -> int | None:
        seq = packet.ttl << 4 | packet.number
        token, ident = steady_token(self._secret, seq), self._echo_socket.ident
        data = echo_request(self._family, seq=seq, token=token, ident=ident)
        number = None
        for _ in range(_SENDS_MAX):
            self._sent[seq] = _Sent.now()
            try:
                self._sock.setsockopt(*_TTL[self._family], packet.ttl)
                self._sock.sendto(data, (self._address, 0))
            except OSError as error:
                # Most often an earlier packet's ICMP error, which the next call is told of.
                number = error.errno
                self._drain()
            else:
                return None
        return number

    async def _receive(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            self._drain()

    def _drain(self) -> None:
        """Errors first: they clear what would spoil the next call."""
        for _ in range(_BATCH):
            entry = errqueue.take(self._sock)
            if entry is None:
                break
            if entry.icmp is not None and entry.destination == self._address:
                self._on_answer(entry.quote, entry.stamp_ns, entry.icmp.router, entry)
        for _ in range(_BATCH):
            try:
                data, ancillary, _, sender = self._sock.recvmsg(
                    _REPLY_BYTES, stamps.ANCILLARY_BYTES, socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return
            except OSError:
                continue  # left by an ICMP error; its story is in the error queue
            if sender[0] == self._address:
                packet = self._echo_socket.icmp_of(data)
                self._on_answer(packet, stamps.read_stamp(ancillary), str(sender[0]), None)

    def _on_answer(
        self,
        data: bytes,
        stamp_ns: int | None,
        router: str | None,
        entry: errqueue.QueuedError | None,
    ) -> None:
        """An echo reply, or our own request as an ICMP error quotes it."""
        echo = read_echo(data, self._family)
        if echo is None or echo.is_reply == (entry is not None):
            return
        if self._echo_socket.ident not in {None, echo.ident}:
            return  # on a raw socket: somebody else's
        # A router need not quote more than the head of a packet.
        sent = self._sent.get(echo.seq)
        if sent is None or not steady_token(self._secret, echo.seq).startswith(echo.token):
            return
        rtt_us, clock = sent.round_trip(stamp_ns)
        answer = Answer(
            router=router,
            rtt_us=rtt_us,
            stamp_source=clock,
            icmp=None if entry is None else entry.icmp,
        )
        self._tell(Packet(echo.seq >> 4, echo.seq & 15), answer)


# --- by TCP ---------------------------------------------------------------------------------------


class _Connections:
    """One connection per packet, closed as soon as its fate is known or no longer awaited."""

    def __init__(
        self, course: Course, family: int, port: int, source: str | None, tell: Tell
    ) -> None:
        self._course = course
        self._aim = course.aim
        self._family = family
        self._peer = (course.aim.address, port)
        self._source = source
        self._tell = tell
        self._nursery: trio.Nursery | None = None

    def start(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def close(self) -> None:
        """Every connection was closed by its task."""

    def send(self, packet: Packet) -> int | None:
        assert self._nursery is not None, "start() comes first"
        try:
            sock = socket.socket(_FAMILY[self._family], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            return error.errno
        try:
            prepare(sock, self._source)
            sock.setsockopt(*_TTL[self._family], packet.ttl)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            sent = _Sent.now()
            number = sock.connect_ex(self._peer)
        except OSError as error:
            sock.close()
            return error.errno
        if number in {0, errno.EINPROGRESS}:
            self._nursery.start_soon(self._await_fate, packet, sock, sent)
            return None
        sock.close()
        if number != errno.ECONNREFUSED:
            return number
        self._tell(packet, self._from_target(sent))  # over loopback the reset is here at once
        return None

    async def _await_fate(self, packet: Packet, sock: socket.socket, sent: _Sent) -> None:
        began_s = trio.current_time()
        try:
            with trio.move_on_at(began_s + self._aim.wait_s) as waiting:
                await trio.lowlevel.wait_writable(sock)
            if waiting.cancelled_caught and self._course.is_worth_listening(packet):
                with trio.move_on_at(began_s + LISTEN_S):
                    await trio.lowlevel.wait_writable(sock)
        finally:
            answer = self._fate(sock, sent)
            sock.close()
            if answer is not None:
                self._tell(packet, answer)

    def _fate(self, sock: socket.socket, sent: _Sent) -> Answer | None:
        """What became of a connection so far; None: nothing yet, or nothing that tells of the way."""
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        info = tcp_info(sock)
        entry = errqueue.take(sock)
        while entry is not None and entry.icmp is None:
            entry = errqueue.take(sock)
        if entry is not None and entry.icmp is not None:
            rtt_us, clock = sent.round_trip(entry.stamp_ns)
            known = not info.retransmits
            return Answer(
                router=entry.icmp.router,
                rtt_us=rtt_us if known else None,
                stamp_source=clock if known else None,
                icmp=entry.icmp,
            )
        if number == 0 and info.connected:
            source = StampSource.COARSE if info.retransmits else StampSource.TCP_INFO
            if info.rtt_us is None:
                return self._from_target(sent)
            return Answer(router=self._aim.address, rtt_us=info.rtt_us, stamp_source=source)
        return self._from_target(sent) if number == errno.ECONNREFUSED else None

    def _from_target(self, sent: _Sent) -> Answer:
        """An answer that the kernel gives no time for: a reset, above all."""
        rtt_us, clock = sent.round_trip(None)
        return Answer(router=self._aim.address, rtt_us=rtt_us, stamp_source=clock)
