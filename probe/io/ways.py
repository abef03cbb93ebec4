"""What ways out this machine has: the address and gateway it would use, the families it knows.

Nothing here sends a packet. The kernel is asked for a route as `ip route get` does, which needs no
privileges.

Source: rtnetlink(7).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Of this thread's network namespace, which /proc/net is not once a thread has changed its own.
_PROC_NET: Final = Path("/proc/thread-self/net")
_GLOBAL_SCOPE: Final = "00"
_DISCARD_PORT: Final = 9

# linux/netlink.h, linux/rtnetlink.h
_NETLINK_ROUTE: Final = 0
_NEWROUTE, _GETROUTE, _REQUEST = 24, 26, 1
_DST, _GATEWAY, _VIA = 1, 5, 18
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_REPLY_BYTES: Final = 4096


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


def _gateway(destination: str) -> str | None:
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    try:
        raw = socket.inet_pton(family, destination)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as sock:
            sock.send(_question(family, raw))
            reply = sock.recv(_REPLY_BYTES, socket.MSG_DONTWAIT)
    except OSError:
        return None
    _, kind, _, _, _ = _HEADER.unpack_from(reply)
    if kind != _NEWROUTE:
        return None
    found = dict(_attributes(reply[_HEADER.size + _ROUTE.size :]))
    if _VIA in found:  # a gateway of the other family, with its family before it
        return _text(found[_VIA][2:])
    return _text(found[_GATEWAY]) if _GATEWAY in found else None


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
        return (_PROC_NET / name).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
