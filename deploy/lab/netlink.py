"""Write links, addresses, neighbours and routes to the kernel: rtnetlink, as little as the lab needs.

About a hundred messages travel in one send, and a pair of interfaces is made directly in its two
namespaces with numbers that we choose, so nothing has to be looked up afterwards. That is what
brings a network of eighty namespaces up in a tenth of a second.

Layouts: linux/rtnetlink.h, linux/if_link.h, linux/neighbour.h; RFC 3549 describes the protocol.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from deploy.lab.namespace import open_socket

_NLMSG_ERROR: Final = 2
_NEWLINK, _NEWADDR, _NEWROUTE, _DELROUTE, _NEWNEIGH = 16, 20, 24, 25, 28
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_NESTED: Final = 0x8000
_IFF_UP: Final = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO = 1, 3, 4, 18
_IFLA_NET_NS_FD, _IFLA_GSO_MAX_SEGS = 28, 40
_IFA_F_NODAD: Final = 2
_NUD_PERMANENT: Final = 0x80
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST, _RTN_UNREACHABLE = 254, 4, 1, 7
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_BATCH_MESSAGES, _BATCH_BYTES = 100, 16000  # an acknowledgement each: 100 fit any receive buffer

ETHERNET_MTU: Final = 1500


@dataclass(frozen=True, slots=True)
class Message:
    """One request to the kernel; `what` names it in errors."""

    kind: int
    flags: int
    body: bytes
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a pair of interfaces: where it lives and what it is called there."""

    namespace: int
    index: int
    name: str
    mac: bytes


def veth_pair(near: End, far: End) -> Message:
    """Make two connected interfaces, each in its own namespace.

    One segment per frame (GSO_MAX_SEGS): else a pair carries 64 KiB frames, and loss or a rate
    limit acts on forty packets at a time. The far end cannot come up in the same message: the
    kernel would open a device that is not paired yet.
    """
    peer = _link(far.index) + _end_attributes(far)
    info = _attribute(1, b"veth\0") + _attribute(2 | _NESTED, _attribute(1, peer))
    body = (
        _link(near.index, up=True)
        + _end_attributes(near)
        + _attribute(_IFLA_LINKINFO | _NESTED, info)
    )
    return Message(_NEWLINK, _CREATE | _EXCL, body, f"veth {near.name} - {far.name}")


def set_link(index: int, *, up: bool) -> Message:
    """Switch an interface on or off."""
    return Message(_NEWLINK, 0, _link(index, up=up), f"link {index} {'up' if up else 'down'}")


def add_address(index: int, address: str, prefix_length: int) -> Message:
    """Give an interface an address; IPv6 addresses are usable at once (no duplicate detection)."""
    packed, family = _packed(address)
    flags = _IFA_F_NODAD if family == socket.AF_INET6 else 0
    body = struct.pack("=BBBBI", family, prefix_length, flags, 0, index)
    body += _attribute(2, packed) + _attribute(1, packed)
    return Message(_NEWADDR, _CREATE | _REPLACE, body, f"address {address}/{prefix_length}")


def add_neighbour(index: int, address: str, mac: bytes) -> Message:
    """Tell who has an address for ever, so that nobody asks.

    The kernel's table of *learnt* neighbours is one for the whole machine and overflows at a
    thousand entries; permanent ones are not counted.
    """
    packed, family = _packed(address)
    body = struct.pack("=BBHiHBB", family, 0, 0, index, _NUD_PERMANENT, 0, 0)
    body += _attribute(1, packed) + _attribute(2, mac)
    return Message(_NEWNEIGH, _CREATE | _REPLACE, body, f"neighbour {address}")


def add_route(prefix: str, *, via: str | None, index: int | None) -> Message:
    """Send a prefix to the neighbour `via` on interface `index`; both None: unreachable."""
    return Message(
        _NEWROUTE, _CREATE | _REPLACE, _route(prefix, via, index), f"route {prefix} via {via}"
    )


def delete_route(prefix: str, *, via: str | None, index: int | None) -> Message:
    """Take back what `add_route` added."""
    return Message(_DELROUTE, 0, _route(prefix, via, index), f"delete route {prefix} via {via}")


def write(namespace: int, messages: Sequence[Message]) -> None:
    """Send the messages to the kernel in the given namespace, each acknowledged.

    `OSError` carries the first refusal and names the message; the others were still carried out.
    """
    with open_socket(
        namespace, socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC
    ) as channel:
        channel.setsockopt(
            _SOL_NETLINK, _NETLINK_CAP_ACK, 1
        )  # errors without a copy of the request
        for batch in _batches(messages):
            _write_batch(channel, batch)


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and (len(batch) == _BATCH_MESSAGES or size + len(message.body) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.body) + 16
    if batch:
        yield batch


def _write_batch(channel: socket.socket, batch: Sequence[Message]) -> None:
    channel.send(b"".join(_frame(number, message) for number, message in enumerate(batch)))
    refused: list[tuple[int, int]] = []
    waiting = len(batch)
    while waiting:
        for number, code in _acknowledgements(channel.recv(1 << 16)):
            waiting -= 1
            if code:
                refused.append((number, code))
    if refused:
        number, code = min(refused)
        detail = f"{batch[number].what}: {os.strerror(code)} ({len(refused)} refused)"
        raise OSError(code, detail)


def _frame(number: int, message: Message) -> bytes:
    length = 16 + len(message.body)
    header = struct.pack("=IHHII", length, message.kind, message.flags | _REQUEST | _ACK, number, 0)
    return header + message.body + bytes(-length % 4)


def _acknowledgements(reply: bytes) -> Iterator[tuple[int, int]]:
    offset = 0
    while offset < len(reply):
        length, kind, _, number, _ = struct.unpack_from("=IHHII", reply, offset)
        if kind == _NLMSG_ERROR:
            yield number, -struct.unpack_from("=i", reply, offset + 16)[0]
        offset += (length + 3) & ~3


def _attribute(kind: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def _link(index: int, *, up: bool | None = None) -> bytes:
    change = 0 if up is None else _IFF_UP
    return struct.pack("=BBHiII", 0, 0, 0, index, _IFF_UP if up else 0, change)


def _end_attributes(end: End) -> bytes:
    return (
        _attribute(_IFLA_IFNAME, end.name.encode() + b"\0")
        + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", end.namespace))
        + _attribute(_IFLA_MTU, struct.pack("=I", ETHERNET_MTU))
        + _attribute(_IFLA_ADDRESS, end.mac)
        + _attribute(_IFLA_GSO_MAX_SEGS, struct.pack("=I", 1))
    )


def _route(prefix: str, via: str | None, index: int | None) -> bytes:
    network = ipaddress.ip_network(prefix)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    kind = _RTN_UNREACHABLE if via is None else _RTN_UNICAST
    body = struct.pack(
        "=BBBBBBBBI", family, network.prefixlen, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, kind, 0
    )
    if network.prefixlen:
        body += _attribute(1, network.network_address.packed)
    if via is not None:
        body += _attribute(5, _packed(via)[0])
    if index is not None:
        body += _attribute(4, struct.pack("=I", index))
    return body


def _packed(address: str) -> tuple[bytes, int]:
    parsed = ipaddress.ip_address(address)
    return parsed.packed, socket.AF_INET if parsed.version == 4 else socket.AF_INET6
