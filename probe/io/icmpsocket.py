"""The socket that echo requests leave by: datagram where the kernel lets us, else raw, else none.

A datagram socket needs no privileges, only that our group lies in `net.ipv4.ping_group_range`; the
kernel keeps foreign packets away from it. A raw socket needs CAP_NET_RAW and sees every ICMP packet
of the machine, so it gets a filter for our identifier before it is used. Both queue ICMP errors the
same way, with the head of our own packet, so all that differs for users is who writes identifier
and checksum, and that raw IPv4 hands over the IP header too.

icmplib makes the sockets, and is used for nothing else: its receive path drops packets and its
clock is the loop's.

Source: icmp(7), raw(7), socket(7); Linux net/ipv4/ping.c, net/ipv4/raw.c.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import socket
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from icmplib import ICMPv4Socket, ICMPv6Socket
from icmplib.exceptions import ICMPSocketError, SocketAddressError, SocketPermissionError

from probe.core.icmpwire import IDENTS, only_replies_to, without_ip_header
from probe.io import errqueue, stamps

# Replies of several thousand requests during a stall of the loop; the default holds 512.
_RECEIVE_BUFFER_BYTES: Final = 4 << 20
_SO_RCVBUFFORCE: Final = 33
# asm-generic/socket.h; the value is a struct sock_fprog: a count and a pointer to the program.
_SO_ATTACH_FILTER: Final = 26
_FILTER_LINE_BYTES: Final = 8
_FPROG = struct.Struct("@HP")
# asm-generic/socket.h SO_MEMINFO, linux/sock_diag.h SK_MEMINFO_DROPS: works without /proc.
_SO_MEMINFO: Final = 55
_MEMINFO = struct.Struct("=9I")
_DROPS: Final = 8


_PASSING: Final = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL),
}
"""Why a socket that this machine lets us open cannot be opened now."""


class IcmpUnavailable(Exception):  # noqa: N818 - it names a state of this machine, not a bug
    """This machine lets us open no ICMP socket; the text says why and how to repair it.

    With an `errno` it lacks something just now; without, it never lets us.
    """

    def __init__(self, text: str, *, errno: int | None = None) -> None:
        super().__init__(text)
        self.errno = errno


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoSocket:
    """An open ICMP socket of one family, non-blocking, stamped and with its error queue on."""

    family: int
    sock: socket.socket
    owner: ICMPv4Socket | ICMPv6Socket
    ident: int | None  # None: the kernel writes it, and hands over no other's packets
    sends_stamped: bool

    @property
    def is_raw(self) -> bool:
        """Opened by CAP_NET_RAW, where the group range leaves us out."""
        return self.ident is not None

    def rest(self) -> None:
        """Queue nothing until it is renewed: a raw socket is told of the errors of all others."""
        errqueue.switch_off(self.sock)

    def renewed(self) -> EchoSocket:
        """A raw socket that rested, under another identifier: what comes for the old one is nobody's."""
        ident = _an_ident()
        _attach(self.sock, only_replies_to(ident, self.family))
        errqueue.switch_on(self.sock)
        return replace(self, ident=ident)

    def close(self) -> None:
        """Give it back."""
        self.owner.close()

    def icmp_of(self, data: bytes) -> bytes:
        """The ICMP packet in what was received."""
        return without_ip_header(data) if self.is_raw and self.family == 4 else data

    def receive_drops(self) -> int:
        """Packets that the kernel dropped on this socket for want of buffer, since it was opened."""
        try:
            raw = self.sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return 0
        return int(_MEMINFO.unpack(raw)[_DROPS]) if len(raw) == _MEMINFO.size else 0


def open_echo_socket(
    family: int, *, source: str | None = None, tx_stamps: bool = False
) -> EchoSocket:
    """The best socket that this process may open.

    Raises:
        IcmpUnavailable: it may open none, or `source` is no address of this machine.
    """
    ident = None
    owner = _make(family, source, privileged=False)
    if owner is None:
        owner = _make(family, source, privileged=True)
        ident = _an_ident()
    if owner is None:
        raise IcmpUnavailable(_permission_text())
    sock: socket.socket = owner.sock
    sock.setblocking(False)
    if ident is not None:
        _attach(sock, only_replies_to(ident, family))
    _widen(sock)
    errqueue.switch_on(sock)
    return EchoSocket(
        family=family,
        sock=sock,
        owner=owner,
        ident=ident,
        sends_stamped=_stamp(sock, tx_stamps=tx_stamps),
    )


def _an_ident() -> int:
    return 1 + secrets.randbelow(IDENTS - 1)


def _make(
    family: int, source: str | None, *, privileged: bool
) -> ICMPv4Socket | ICMPv6Socket | None:
    """A socket, raw if `privileged`; None where the permission is missing."""
    kind = ICMPv4Socket if family == 4 else ICMPv6Socket
    try:
        return kind(address=source, privileged=privileged)
    except SocketPermissionError:
        return None
    except SocketAddressError as error:
        text = f"source address {source} is not one of this machine"
        raise IcmpUnavailable(text, errno=_passing(error)) from None
    except ICMPSocketError as error:
        text = f"no ICMP socket for IPv{family}: {error}"
        raise IcmpUnavailable(text, errno=_passing(error)) from None


def _passing(error: Exception) -> int | None:
    """The errno behind an error of icmplib, if it may be gone the next time."""
    cause = error.__context__
    return cause.errno if isinstance(cause, OSError) and cause.errno in _PASSING else None


def _stamp(sock: socket.socket, *, tx_stamps: bool) -> bool:
    """Switch stamps on; returns whether packets sent are stamped too."""
    if tx_stamps:
        try:
            stamps.switch_on_both(sock)
        except OSError:
            pass  # an old or foreign kernel: what is received can still be stamped
        else:
            return True
    stamps.switch_on(sock)
    return False


def _attach(sock: socket.socket, program: bytes) -> None:
    lines = ctypes.create_string_buffer(program)
    fprog = _FPROG.pack(len(program) // _FILTER_LINE_BYTES, ctypes.addressof(lines))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def _widen(sock: socket.socket) -> None:
    """A receive buffer for a stalled loop: as root beyond the system's limit, else up to it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)


def group_range() -> str:
    """Which groups may open datagram sockets, in words."""
    try:
        text = Path("/proc/sys/net/ipv4/ping_group_range").read_text(encoding="ascii")
    except OSError:
        text = "unreadable"
    return (
        f"net.ipv4.ping_group_range is {' '.join(text.split())!r} and leaves out group "
        f"{os.getegid()}"
    )


def _permission_text() -> str:
    return (
        f"{group_range()}, and CAP_NET_RAW is missing; "
        "as root: sysctl -w net.ipv4.ping_group_range='0 2147483647' "
        "(deploy/README.md, ICMP without privileges)"
    )
