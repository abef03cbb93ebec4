"""What the kernel hands over for an ICMP socket: echoes of strangers, and entries of the error queue.

The kernel is trusted, the bytes in its hands are not: a quoted packet and an echo come from anybody.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from typing import cast

from probe.core.classify import NetworkFacts, classify_network, describe_network
from probe.core.icmpwire import TOKEN_BYTES, echo_request, read_echo, without_ip_header
from probe.io import errqueue, stamps
from proto.model import Failure, Operation

TARGET = {4: "192.0.2.1", 6: "2001:db8::1"}
LEVELS = {
    4: (socket.IPPROTO_IP, errqueue.IP_RECVERR),
    6: (socket.IPPROTO_IPV6, errqueue.IPV6_RECVERR),
}


class Queue:
    """A socket whose error queue holds one entry."""

    def __init__(self, quote: bytes, content: bytes, family: int) -> None:
        stamp = (socket.SOL_SOCKET, stamps.SO_TIMESTAMPNS, content[:16])
        entry = [stamp, (*LEVELS[family], content)]
        self._entries = [(quote, entry, socket.MSG_ERRQUEUE, (TARGET[family], 0))]

    def recvmsg(self, *_: object) -> object:
        """The entry, then nothing for ever."""
        if not self._entries:
            raise BlockingIOError(errno.EAGAIN, "empty")
        return self._entries.pop()


def attempt(data: bytes) -> None:
    """The first byte says how: family, length of the quote; then quote and extended error."""
    if len(data) < 2:
        return
    family = 6 if data[0] & 1 else 4
    quote, content = data[2 : 2 + data[1]], data[2 + data[1] :]
    for packet in (read_echo(quote, family), read_echo(without_ip_header(quote), 4)):
        if packet is None:
            continue
        assert 0 <= packet.ident < 65536
        assert 0 <= packet.seq < 65536
        assert len(packet.token) <= TOKEN_BYTES
    queue = cast("socket.socket", Queue(quote, content, family))
    entry = errqueue.take(queue)
    if entry is not None:
        _holds(entry, immediate=bool(data[0] & 2), datagram=bool(data[0] & 4))
    assert errqueue.take_icmp(queue) is None


def _holds(entry: errqueue.QueuedError, *, immediate: bool, datagram: bool) -> None:
    """An entry has a word and a line for people, and its sender is an address."""
    icmp = entry.icmp
    if icmp is not None:
        assert 0 <= icmp.icmp_type <= 255
        assert 0 <= icmp.icmp_code <= 255
        assert icmp.router is None or ipaddress.ip_address(icmp.router)
    for operation in (Operation.ECHO, Operation.CONNECT, Operation.RESOLVE):
        facts = NetworkFacts(
            operation=operation,
            errno=entry.errno,
            icmp=icmp,
            asked=entry.destination,
            own=icmp.router if icmp else None,
            immediate=immediate,
            datagram=datagram,
        )
        assert classify_network(facts).failure in Failure
        assert describe_network(facts).isprintable()
    rtt_us, _ = stamps.round_trip(sent_ns=1, stamp_ns=entry.stamp_ns, elapsed_us=5)
    assert 0 <= rtt_us <= 5 + 50


def seeds() -> list[bytes]:
    """Each error that a router sends, of both families, from a router, the target and nobody."""
    found = []
    for family, kinds in (
        (4, [(3, code) for code in range(16)] + [(11, 0), (11, 1), (12, 0), (4, 0)]),
        (6, [(1, code) for code in range(7)] + [(2, 0), (3, 0), (3, 1), (4, 1)]),
    ):
        quote = echo_request(family, seq=7, token=bytes(range(TOKEN_BYTES)))
        for kind, code in kinds:
            content = _extended(family, kind, code) + _sockaddr(family)
            found.append(bytes((family == 6, len(quote))) + quote + content)
        reply = bytes((0 if family == 4 else 129,)) + quote[1:]
        found.append(bytes((family == 6, len(reply))) + reply)
        local = _extended(family, 0, 0, origin=1, number=errno.EMSGSIZE)
        found.append(bytes((2 + (family == 6), 8)) + quote[:8] + local)
    return found


def _extended(
    family: int,
    kind: int,
    code: int,
    *,
    origin: int | None = None,
    number: int = errno.EHOSTUNREACH,
) -> bytes:
    who = origin if origin is not None else (2 if family == 4 else 3)
    return struct.pack("=IBBBBII", number, who, kind, code, 0, 0, 0)


def _sockaddr(family: int) -> bytes:
    if family == 4:
        return struct.pack("=HH", socket.AF_INET, 0) + bytes((192, 0, 2, 9)) + bytes(8)
    address = socket.inet_pton(socket.AF_INET6, "2001:db8::9")
    return struct.pack("=HHI", socket.AF_INET6, 0, 0) + address + bytes(4)
