"""One TCP connection to one address, with what the kernel knows of it.

The round trip comes from TCP_INFO, not from the moment our loop noticed: under load the two differ
by milliseconds. A SYN that was sent again makes the kernel's figure millisecond-grained, which the
row says (`coarse`); how long the handshake took then follows from when the kernel last heard the
peer. When the deadline passes, the socket is asked once more: a connection that the kernel completed
in time was our lateness, not the network's silence.

Never `open_tcp_stream`: it races addresses and families, and a check is about one of them.

Source: tcp(7), linux/tcp.h (struct tcp_info).
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import replace
from typing import Final, NamedTuple

import trio

from probe.core.classify import NetworkFacts, classify_network, describe_network
from probe.core.outcome import Attempt, IcmpError, Refusal
from probe.io import errqueue, stamps
from probe.io.waits import IN_A_TASK, Waits
from probe.io.ways import way_to
from proto.model import Operation, StampSource

# linux/in.h: choose the port at connect, per destination, or 28,000 checks use up all ports.
_IP_BIND_ADDRESS_NO_PORT: Final = 24
# net/tcp_states.h: before the handshake, or after all is over. A peer that hangs up at once leaves
# the connection in CLOSE_WAIT: that one was made.
_NOT_CONNECTED: Final = frozenset({2, 3, 7})  # SYN_SENT, SYN_RECV, CLOSE
_UNSET: Final = frozenset({0, 0xFFFFFFFF})
# tcpi_state, tcpi_last_ack_recv, tcpi_rtt, tcpi_total_retrans, tcpi_min_rtt (the last since Linux 4.6).
_INFO: Final = struct.Struct("=B55xI8xI28xI44xI")


class Connected(NamedTuple):
    """An open connection. Whoever holds it closes `sock`."""

    sock: socket.socket  # non-blocking, receive stamps and error queue switched on
    rtt_us: int
    retransmits: int  # SYNs sent again
    stamp_source: StampSource
    connect_us: int  # the kernel's round trip; with retransmits from the first SYN to the answer
    address: str

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The step, for people."""
        attempt = Attempt(
            operation=Operation.CONNECT,
            address=self.address,
            elapsed_us=self.rtt_us,
            stamp_source=self.stamp_source,
            failure=None,
            classified_by="handshake completed",
            detail=f"{self.retransmits} SYNs sent again" if self.retransmits else "",
        )
        return (attempt,)


class TcpInfo(NamedTuple):
    """What the kernel knows of a connection; None where it does not say."""

    connected: bool
    rtt_us: int | None
    retransmits: int | None
    heard_ago_us: int | None  # since the last segment from the peer, millisecond-grained


async def connect(
    address: str,
    port: int,
    *,
    deadline: float,
    source: str | None = None,
    waits: Waits = IN_A_TASK,
) -> Connected | Refusal:
    """Connect to exactly this address before `deadline` (trio's clock).

    Args:
        address: a literal in canonical form; names are never looked up here.
        port: TCP port.
        deadline: on trio's clock; once past, the kernel is asked what it has and that counts.
        source: the address to bind, of the same family.
        waits: how whoever drives this waits.
    """
    started = trio.current_time()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        return _refusal(_facts(address, error.errno, immediate=True), started=started)
    outcome: Connected | Refusal | None = None
    try:
        outcome = await _connect(
            sock, (address, port), deadline=deadline, source=source, waits=waits
        )
    finally:
        if not isinstance(outcome, Connected):
            sock.close()
    return outcome


async def _connect(
    sock: socket.socket,
    peer: tuple[str, int],
    *,
    deadline: float,
    source: str | None,
    waits: Waits,
) -> Connected | Refusal:
    started = trio.current_time()
    address = peer[0]
    try:
        prepare(sock, source)
        number = sock.connect_ex(peer)
    except OSError as error:
        return _refusal(_facts(address, error.errno, immediate=True), started=started)
    if number in {0, errno.EINPROGRESS}:
        await waits.writable(sock, deadline)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        immediate = False
    else:
        immediate = True
    info = tcp_info(sock)
    if number == errno.ECONNRESET and info.rtt_us is not None:
        # Before the handshake a reset is ECONNREFUSED. This connection was made and then reset: who
        # goes on with it meets that.
        number, info = 0, info._replace(connected=True)
    allowed_us = round((deadline - started) * 1e6)
    if number == 0 and info.connected and not _came_late(info, allowed_us):
        return _connected(sock, address, info, started)
    icmp = errqueue.take_icmp(sock)
    facts = _facts(address, number or None, icmp=icmp, immediate=immediate)
    facts = replace(facts, overdue=allowed_us <= 0)
    return _refusal(facts, started=started, retransmits=info.retransmits)


def _came_late(info: TcpInfo, allowed_us: int) -> bool:
    """Whether a connection that stands by now did not when its time was over.

    Where a SYN was sent again the kernel does not say exactly, and the doubt is the peer's.
    """
    return info.rtt_us is not None and not info.retransmits and 0 < allowed_us < info.rtt_us


def _facts(
    address: str, number: int | None, *, icmp: IcmpError | None = None, immediate: bool = False
) -> NetworkFacts:
    way = None if icmp is None else way_to(address)
    return NetworkFacts(
        operation=Operation.CONNECT,
        errno=number,
        icmp=icmp,
        asked=address,
        own=None if way is None else way.own,
        gateway=None if way is None else way.gateway,
        immediate=immediate,
    )


def prepare(sock: socket.socket, source: str | None) -> None:
    """Receive stamps, the error queue and the address to send from, before the connect.

    Raises:
        OSError: this machine has no such address or option.
    """
    stamps.switch_on(sock)
    errqueue.switch_on(sock)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if source is not None:
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))


def _elapsed_us(started: float) -> int:
    return round((trio.current_time() - started) * 1e6)


def _connected(sock: socket.socket, address: str, info: TcpInfo, started: float) -> Connected:
    elapsed_us = _elapsed_us(started)
    retransmits = info.retransmits or 0
    since_first_syn_us = max(info.rtt_us or 0, elapsed_us - (info.heard_ago_us or 0))
    if info.rtt_us is None:
        rtt_us, clock = elapsed_us, StampSource.USER
    else:
        rtt_us = info.rtt_us
        clock = StampSource.COARSE if retransmits else StampSource.TCP_INFO
    return Connected(
        sock=sock,
        rtt_us=rtt_us,
        retransmits=retransmits,
        stamp_source=clock,
        connect_us=since_first_syn_us if retransmits else rtt_us,
        address=address,
    )


def _refusal(facts: NetworkFacts, *, started: float, retransmits: int | None = None) -> Refusal:
    decided = classify_network(facts)
    attempt = Attempt(
        operation=facts.operation,
        address=facts.asked,
        elapsed_us=_elapsed_us(started),
        stamp_source=StampSource.USER,
        failure=decided.failure,
        classified_by=decided.sentence,
        detail=describe_network(facts),
    )
    return Refusal(
        operation=facts.operation,
        attempt=attempt,
        failure=decided.failure,
        icmp=facts.icmp,
        retransmits=retransmits,
    )


def tcp_info(sock: socket.socket) -> TcpInfo:
    """What the kernel knows of this connection; all unknown where it has no TCP_INFO."""
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except OSError:
        return TcpInfo(connected=_has_peer(sock), rtt_us=None, retransmits=None, heard_ago_us=None)
    state, heard_ago_ms, rtt_us, retransmits, min_rtt_us = _INFO.unpack_from(
        raw.ljust(_INFO.size, b"\0")
    )
    known_us = rtt_us if min_rtt_us in _UNSET else min_rtt_us
    return TcpInfo(
        connected=state not in _NOT_CONNECTED,
        rtt_us=None if known_us in _UNSET else known_us,
        retransmits=retransmits,
        heard_ago_us=heard_ago_ms * 1000,
    )


def _has_peer(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
