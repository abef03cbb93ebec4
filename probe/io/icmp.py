"""Echo requests of all checks over one unprivileged socket per family.

One socket, many targets: that costs a receiver task, and brings three traps that each of the rules
below answers.

* An ICMP error about target A poisons the next call on the socket, which may be a send to B. A send
  that fails is tried once more after the error queue was emptied; only the second failure is B's.
* A loop that stalls finds replies late. A reply counts by its kernel stamp, and before a slot is
  declared over the socket is emptied once more.
* Replies that overflow the receive buffer look like loss. The kernel counts them on the socket, and
  a slot during which that count grew is `local_overload`, not loss.

icmplib makes the sockets, and is used for nothing else: its receive path drops packets and its
clock is the loop's.

Source: icmp(7), Linux net/ipv4/ping.c; RFC 2681 (round trip), RFC 5560 (duplicates).
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import struct
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio
from icmplib import ICMPv4Socket, ICMPv6Socket
from icmplib.exceptions import ICMPSocketError, SocketAddressError, SocketPermissionError

from probe.core.classify import NetworkFacts, classify_network, describe_network
from probe.core.icmpwire import (
    SEQUENCES,
    TOKEN_BYTES,
    EchoAnswer,
    EchoPacket,
    echo_request,
    read_echo,
)
from probe.io import errqueue, stamps
from probe.io.ways import way_to
from proto.model import Failure, Operation

# Replies of several thousand requests during a stall of the loop; the default holds 512.
_RECEIVE_BUFFER_BYTES: Final = 4 << 20
_SO_RCVBUFFORCE: Final = 33
# asm-generic/socket.h SO_MEMINFO, linux/sock_diag.h SK_MEMINFO_DROPS: works without /proc.
_SO_MEMINFO: Final = 55
_MEMINFO = struct.Struct("=9I")
_DROPS: Final = 8
# One look at the socket handles no more than this, so that other checks get their turn.
_BATCH: Final = 256
_REPLY_BYTES: Final = 128
# Requests answered or given up, remembered to tell late replies and duplicates from strangers.
_REMEMBERED: Final = 8192


class IcmpUnavailable(Exception):  # noqa: N818 - it names a state of this machine, not a bug
    """This machine lets us open no ICMP socket; the text says why and how to repair it."""


@dataclass(slots=True)
class _Request:
    """One request on its way. `answer` is set once."""

    destination: str
    seq: int | None  # None: no number was free, nothing was sent
    token: bytes
    allowed_us: int
    flight: _Flight
    sent_ns: int = 0
    sent_monotonic_ns: int = 0
    answer: EchoAnswer | None = None


@dataclass(slots=True)
class _Flight:
    """The requests of one slot."""

    requests: list[_Request] = field(default_factory=list)
    duplicates: int = 0
    all_out: bool = False
    settled: trio.Event = field(default_factory=trio.Event)

    def settle(self) -> None:
        """Wake the slot when every request has its answer."""
        if self.all_out and all(request.answer is not None for request in self.requests):
            self.settled.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Echoes:
    """What a slot's requests came to."""

    answers: tuple[EchoAnswer, ...]
    duplicates: int
    late: int  # replies after their deadline, of this slot and of those before it to this address
    dropped: bool  # the kernel dropped replies meanwhile: silence proves nothing


class Pinger:
    """The shared socket of one family. `run` must be running for replies to be seen."""

    def __init__(self, family: int, *, source: str | None = None) -> None:
        self.family = family
        self._owner = _open(family, source)
        self._sock: socket.socket = self._owner.sock
        self._sock.setblocking(False)
        _widen(self._sock)
        stamps.switch_on(self._sock)
        errqueue.switch_on(self._sock)
        self._seq = secrets.randbelow(SEQUENCES)
        self._waiting: dict[int, _Request] = {}
        self._past: OrderedDict[int, _Request] = OrderedDict()
        self._late: dict[str, int] = {}
        self.retried_sends = 0  # most were poisoned by another target's ICMP error

    def close(self) -> None:
        """Give the socket back; requests under way end by their deadlines."""
        self._owner.close()

    def receive_drops(self) -> int:
        """Packets that the kernel dropped on this socket for want of buffer, since it was opened."""
        try:
            raw = self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return 0
        return int(_MEMINFO.unpack(raw)[_DROPS]) if len(raw) == _MEMINFO.size else 0

    async def run(self) -> None:
        """Receive for ever."""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            self.drain()

    async def echo(
        self, destination: str, *, count: int, deadline: float, spacing_s: float
    ) -> Echoes:
        """Send `count` requests, `spacing_s` apart, and collect what comes before `deadline`."""
        drops = self.receive_drops()
        flight = _Flight()
        try:
            with trio.move_on_at(deadline):
                for number in range(count):
                    if number:
                        await trio.sleep(spacing_s)
                    self._send(destination, flight, deadline)
                flight.all_out = True
                flight.settle()
                await flight.settled.wait()
            self.drain()
        finally:
            self._forget(flight)
        return Echoes(
            answers=tuple(request.answer or _SILENCE for request in flight.requests),
            duplicates=flight.duplicates,
            late=self._late.pop(destination, 0),
            dropped=self.receive_drops() > drops,
        )

    # --- Sending ----------------------------------------------------------------------------------

    def _send(self, destination: str, flight: _Flight, deadline: float) -> None:
        """Put one request on the wire, or its local failure into the flight."""
        seq = self._free_seq()
        allowed_us = round((deadline - trio.current_time()) * 1e6)
        token = secrets.token_bytes(TOKEN_BYTES)
        request = _Request(destination, seq, token, allowed_us, flight)
        flight.requests.append(request)
        if seq is None:
            request.answer = _not_sent(destination, errno.EBUSY)
            return
        packet = echo_request(self.family, seq=seq, token=request.token)
        # Known before the send: over loopback the reply is here before the call returns.
        self._waiting[seq] = request
        try:
            self._send_clean(packet, request)
        except OSError as error:
            del self._waiting[seq]
            request.answer = _not_sent(destination, error.errno)

    def _send_clean(self, packet: bytes, request: _Request) -> None:
        """Send; an error that another target left on the socket is cleared and the send repeated.

        Raises:
            OSError: this machine cannot send to this destination.
        """
        try:
            self._send_now(packet, request)
        except BlockingIOError:
            raise
        except OSError:
            self.retried_sends += 1
            self.drain()
            self._send_now(packet, request)

    def _send_now(self, packet: bytes, request: _Request) -> None:
        request.sent_monotonic_ns = time.perf_counter_ns()
        request.sent_ns = stamps.now_ns()
        self._sock.sendto(packet, socket.MSG_DONTWAIT, (request.destination, 0))

    def _free_seq(self) -> int | None:
        """The next sequence number that no request under way holds; None: all are taken."""
        if len(self._waiting) >= SEQUENCES:
            return None
        while True:
            self._seq = (self._seq + 1) % SEQUENCES
            if self._seq not in self._waiting:
                self._past.pop(self._seq, None)
                return self._seq

    def _forget(self, flight: _Flight) -> None:
        """Take a slot's requests out of the waiting ones, and remember them for late replies."""
        for request in flight.requests:
            if request.seq is not None and self._waiting.get(request.seq) is request:
                self._past[request.seq] = self._waiting.pop(request.seq)
        while len(self._past) > _REMEMBERED:
            self._past.popitem(last=False)
        if len(self._late) > _REMEMBERED:
            self._late.clear()

    # --- Receiving --------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take in what the socket holds, errors first: they clear what poisons the next call."""
        for _ in range(_BATCH):
            entry = errqueue.take(self._sock)
            if entry is None:
                break
            self._on_error(entry)
        for _ in range(_BATCH):
            try:
                data, ancillary, _, address = self._sock.recvmsg(
                    _REPLY_BYTES, stamps.ANCILLARY_BYTES, socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return
            except OSError:
                continue  # left by an ICMP error; its story is in the error queue
            packet = read_echo(data, self.family)
            if packet is not None and packet.is_reply:
                self._on_reply(packet, str(address[0]), stamps.read_stamp(ancillary))

    def _on_reply(self, packet: EchoPacket, responder: str, stamp_ns: int | None) -> None:
        request = self._waiting.get(packet.seq) or self._past.get(packet.seq)
        if request is None or (request.destination, request.token) != (responder, packet.token):
            return
        if request.answer is not None:
            request.flight.duplicates += request.answer.failure is None
            return
        rtt_us, clock = stamps.round_trip(
            sent_ns=request.sent_ns, stamp_ns=stamp_ns, elapsed_us=_since_us(request)
        )
        if rtt_us > request.allowed_us:
            self._late[responder] = self._late.get(responder, 0) + 1
            request.answer = _SILENCE
        else:  # in time; where the slot was given up meanwhile, nobody reads it
            request.answer = EchoAnswer(
                rtt_us=rtt_us, stamp_source=clock, failure=None, sentence="echo reply"
            )
        request.flight.settle()

    def _on_error(self, entry: errqueue.QueuedError) -> None:
        packet = read_echo(entry.quote, self.family)
        request = None if packet is None else self._waiting.get(packet.seq)
        if request is None or request.destination != entry.destination or request.answer:
            return
        way = None if entry.icmp is None else way_to(request.destination)
        facts = NetworkFacts(
            operation=Operation.ECHO,
            errno=entry.errno,
            icmp=entry.icmp,
            asked=request.destination,
            own=None if way is None else way.own,
            gateway=None if way is None else way.gateway,
        )
        request.answer = _failed(facts)
        request.flight.settle()


_SILENCE: Final = EchoAnswer(
    rtt_us=None,
    stamp_source=None,
    failure=Failure.TIMEOUT,
    sentence=classify_network(NetworkFacts(operation=Operation.ECHO, errno=None)).sentence,
)


def _failed(facts: NetworkFacts) -> EchoAnswer:
    decided = classify_network(facts)
    return EchoAnswer(
        rtt_us=None,
        stamp_source=None,
        failure=decided.failure,
        sentence=decided.sentence,
        detail=describe_network(facts),
        icmp=facts.icmp,
        sent=not facts.immediate,
    )


def _not_sent(destination: str, number: int | None) -> EchoAnswer:
    return _failed(
        NetworkFacts(operation=Operation.ECHO, errno=number, asked=destination, immediate=True)
    )


def _since_us(request: _Request) -> int:
    return (time.perf_counter_ns() - request.sent_monotonic_ns) // 1000


# --- Opening --------------------------------------------------------------------------------------


def _open(family: int, source: str | None) -> ICMPv4Socket | ICMPv6Socket:
    kind = ICMPv4Socket if family == 4 else ICMPv6Socket
    try:
        return kind(address=source, privileged=False)
    except SocketPermissionError:
        raise IcmpUnavailable(_permission_text()) from None
    except SocketAddressError:
        raise IcmpUnavailable(f"source address {source} is not one of this machine") from None
    except ICMPSocketError as error:
        raise IcmpUnavailable(f"no ICMP socket for IPv{family}: {error}") from None


def _permission_text() -> str:
    try:
        text = Path("/proc/sys/net/ipv4/ping_group_range").read_text(encoding="ascii")
    except OSError:
        text = "unreadable"
    return (
        f"net.ipv4.ping_group_range is {' '.join(text.split())!r} and leaves out group "
        f"{os.getegid()}; as root: sysctl -w net.ipv4.ping_group_range='0 2147483647' "
        "(deploy/README.md, ICMP without privileges)"
    )


def _widen(sock: socket.socket) -> None:
    """A receive buffer for a stalled loop: as root beyond the system's limit, else up to it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
