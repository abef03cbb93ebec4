"""The error queue of a socket: which ICMP error came back, for which packet, and from whom.

Without privileges, an errno is all that a failed connect or echo leaves behind. With IP_RECVERR the
kernel also queues the error itself, with the router's address and the head of our own packet. That
is what tells a firewall from a closed port and a distant filter from a local one. Stamps of packets
sent come the same way.

Source: ip(7), section IP_RECVERR; linux/errqueue.h.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final

from probe.core.outcome import IcmpError
from probe.io import stamps

# Not named by Python 3.11's socket module: linux/in.h, linux/in6.h, linux/errqueue.h.
IP_RECVERR: Final = 11
IPV6_RECVERR: Final = 25
_ORIGIN_ICMP: Final = 2
_ORIGIN_ICMP6: Final = 3
_ORIGIN_STAMP: Final = 4
# The quoted head of our packet: an ICMP header suffices to know which one it was.
_QUOTE_BYTES: Final = 128

_EXTENDED_ERR = struct.Struct("=IBBBBII")
_FAMILY = struct.Struct("=H")
_RECVERR: Final = {
    (socket.IPPROTO_IP, IP_RECVERR),
    (socket.IPPROTO_IPV6, IPV6_RECVERR),
}


@dataclass(frozen=True, slots=True)
class QueuedError:
    """One entry of the queue."""

    errno: int
    icmp: IcmpError | None  # None: this machine itself refused (too big, no room)
    destination: str | None  # where our packet was going, for sockets that are not connected
    quote: bytes  # the head of our packet, from the transport header on
    stamp_ns: int | None
    sent_no: int | None = None  # no error: the stamp of the packet sent with this number


def switch_on(sock: socket.socket) -> None:
    """Have ICMP errors queued on this socket, and reported at once instead of retried."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)


def switch_off(sock: socket.socket) -> None:
    """Have nothing queued on this socket, and forget what was."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 0)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 0)


def take(sock: socket.socket) -> QueuedError | None:
    """The oldest queued error; None when the queue is empty."""
    while True:
        try:
            quote, ancillary, _, address = sock.recvmsg(
                _QUOTE_BYTES, stamps.ANCILLARY_BYTES, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
            )
        except OSError:
            return None
        content = next((c for level, kind, c in ancillary if (level, kind) in _RECVERR), None)
        if content is not None and len(content) >= _EXTENDED_ERR.size:
            number, icmp = read_extended(content)
            return QueuedError(
                errno=number,
                icmp=icmp,
                destination=address[0] if address else None,
                quote=quote,
                stamp_ns=stamps.read_stamp(ancillary),
                sent_no=read_sent_no(content),
            )


def take_icmp(sock: socket.socket) -> IcmpError | None:
    """The first ICMP error in the queue, which is emptied: for sockets with one destination."""
    found: IcmpError | None = None
    while (entry := take(sock)) is not None:
        found = found or entry.icmp
    return found


def read_sent_no(content: bytes) -> int | None:
    """The number of the packet that a send stamp belongs to; None for an error."""
    _, origin, _, _, _, _, number = _EXTENDED_ERR.unpack_from(content)
    return number if origin == _ORIGIN_STAMP else None


def read_extended(content: bytes) -> tuple[int, IcmpError | None]:
    """A `sock_extended_err` with the sender behind it, as errno and ICMP error."""
    number, origin, icmp_type, icmp_code, _, _, _ = _EXTENDED_ERR.unpack_from(content)
    if origin not in {_ORIGIN_ICMP, _ORIGIN_ICMP6}:
        return number, None
    family = 4 if origin == _ORIGIN_ICMP else 6
    return number, IcmpError(
        family=family,
        icmp_type=icmp_type,
        icmp_code=icmp_code,
        router=_sender(content[_EXTENDED_ERR.size :]),
        errno=number,
    )


def _sender(sockaddr: bytes) -> str | None:
    """The address in a sockaddr_in or sockaddr_in6; None where the kernel left it unset."""
    family = _FAMILY.unpack_from(sockaddr)[0] if len(sockaddr) >= _FAMILY.size else 0
    if family == socket.AF_INET and len(sockaddr) >= 8:
        return socket.inet_ntop(socket.AF_INET, sockaddr[4:8])
    if family == socket.AF_INET6 and len(sockaddr) >= 24:
        return socket.inet_ntop(socket.AF_INET6, sockaddr[8:24])
    return None
