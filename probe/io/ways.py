"""What ways out this machine has: the address and gateway it would use, the families it knows.

Nothing here sends a packet. The kernel is asked for a route as `ip route get` does, which needs no
privileges.

Source: rtnetlink(7).
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Of this thread's network namespace, which /proc/net is not once a thread has changed its own.
PROC_NET: Final = Path("/proc/thread-self/net")
_GLOBAL_SCOPE: Final = "00"
_DISCARD_PORT: Final = 9

# linux/netlink.h, linux/rtnetlink.h, linux/neighbour.h
_NETLINK_ROUTE: Final = 0
_NEWROUTE, _GETROUTE, _REQUEST = 24, 26, 1
_DST, _OUT, _GATEWAY, _VIA = 1, 4, 5, 18
_NEWNEIGH, _GETNEIGH, _DUMP = 28, 30, 0x300
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_REPLY_BYTES: Final = 32768
_FAILED: Final = 0x01 | 0x20  # NUD_INCOMPLETE, NUD_FAILED
_ALIVE: Final = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # reachable, stale, delay, probe, permanent
# RTMGRP_* of linux/rtnetlink.h: addresses, routes and rules of both families; the last by its number.
_CHANGES: Final = 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << (19 - 1)


@dataclass(frozen=True, slots=True)
class Way:
    """How packets to a destination would leave."""

    own: str | None  # None: there is no route
    gateway: str | None  # None: the destination is on a link of ours, or there is no route


def own_address(destination: str) -> str | None:
    """The address that packets to `destination` would leave from; None: there is no route."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((destination, _DISCARD_PORT))
            return str(sock.getsockname()[0])
    except OSError:
        return None


def way_to(destination: str) -> Way:
    """How packets to `destination` would leave."""
    return Way(own=own_address(destination), gateway=_gateway(destination))


def interface_to(destination: str) -> str | None:
    """The interface that packets to `destination` would leave by; None: there is no route."""
    index = _route(destination).get(_OUT)
    try:
        return (
            None if index is None else socket.if_indextoname(int.from_bytes(index, sys.byteorder))
        )
    except OSError:
        return None


def gateway_state(gateway: str) -> bool | None:
    """Whether a neighbour answers on its link, as the kernel last saw; None: it does not know."""
    family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
    ask = _HEADER.pack(_HEADER.size + _NEIGHBOUR.size, _GETNEIGH, _REQUEST | _DUMP, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as sock:
            sock.send(ask + _NEIGHBOUR.pack(family, 0, 0, 0, 0))
            states = [state for address, state in _neighbours(sock) if address == gateway]
    except OSError:
        return None
    if any(state & _ALIVE for state in states):
        return True
    return False if any(state & _FAILED for state in states) else None


def _neighbours(sock: socket.socket) -> Iterator[tuple[str, int]]:
    """Address and state of each, until the kernel says that these were all."""
    while True:
        reply = sock.recv(_REPLY_BYTES, socket.MSG_DONTWAIT)
        while len(reply) >= _HEADER.size:
            length, kind, _, _, _ = _HEADER.unpack_from(reply)
            message, reply = reply[_HEADER.size : length], reply[(length + 3) & ~3 :]
            if kind != _NEWNEIGH:
                return
            state = _NEIGHBOUR.unpack_from(message)[2]
            found = dict(_attributes(message[_NEIGHBOUR.size :]))
            if len(found.get(_DST, b"")) in {4, 16}:
                yield _text(found[_DST]), state


class RouteWatch:
    """Whether the ways out of this machine may have changed, as the kernel tells.

    Whoever remembers an answer of `own_address` asks here before it is used again: that is one system
    call, where the question itself takes four and a socket.
    """

    __slots__ = ("_poll", "_sock")

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._poll = select.poll()
        try:
            sock = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_ROUTE
            )
        except OSError:
            return  # a foreign kernel: nothing can be remembered
        try:
            sock.bind((0, _CHANGES))
        except OSError:
            sock.close()
        else:
            self._sock = sock
            self._poll.register(sock, select.POLLIN)

    def has_changed(self) -> bool:
        """Whether anything did since this was last asked; True where the kernel will not tell."""
        if self._sock is None:
            return True
        changed = False
        try:
            while self._poll.poll(0):
                changed = True
                with suppress(OSError):  # ENOBUFS: more changes than the socket holds
                    self._sock.recv(1)
        except OSError:
            return True
        return changed

    def close(self) -> None:
        """Stop watching."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _gateway(destination: str) -> str | None:
    found = _route(destination)
    if _VIA in found:  # a gateway of the other family, with its family before it
        return _text(found[_VIA][2:])
    return _text(found[_GATEWAY]) if _GATEWAY in found else None


def _route(destination: str) -> dict[int, bytes]:
    """The attributes of the route to a destination; none where there is none."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    try:
        raw = socket.inet_pton(family, destination)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as sock:
            sock.send(_question(family, raw))
            reply = sock.recv(_REPLY_BYTES, socket.MSG_DONTWAIT)
    except OSError:
        return {}
    _, kind, _, _, _ = _HEADER.unpack_from(reply)
    return dict(_attributes(reply[_HEADER.size + _ROUTE.size :])) if kind == _NEWROUTE else {}


def _question(family: int, raw: bytes) -> bytes:
    route = _ROUTE.pack(family, len(raw) * 8, 0, 0, 0, 0, 0, 0, 0)
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(raw), _DST) + raw
    length = _HEADER.size + len(route) + len(attribute)
    return _HEADER.pack(length, _GETROUTE, _REQUEST, 1, 0) + route + attribute


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each attribute; they are padded to four bytes."""
    while len(content) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(content)
        yield kind, content[_ATTRIBUTE.size : length]
        content = content[max(_ATTRIBUTE.size, (length + 3) & ~3) :]


def _text(raw: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6 if len(raw) == 16 else socket.AF_INET, raw)


def families_present() -> set[int]:
    """The families in which this machine has more than loopback and link-local addresses."""
    found: set[int] = set()
    # One line of head; routes of loopback are kept in another table.
    if len(_lines("route")) > 1:
        found.add(4)
    fields = [line.split() for line in _lines("if_inet6")]
    if any(len(field) == 6 and field[3] == _GLOBAL_SCOPE for field in fields):
        found.add(6)
    return found


def _lines(name: str) -> list[str]:
    try:
        return (PROC_NET / name).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
