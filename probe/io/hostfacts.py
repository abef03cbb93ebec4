"""What the kernel of this machine says of it, read without privileges and without changing anything."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from probe.io import errqueue, stamps
from probe.io.ways import PROC_NET

RECEIVE_BUFFER_MAX: Final = Path("/proc/sys/net/core/rmem_max")
_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_STATUS: Final = Path("/proc/self/status")
_ANSWER_WAIT_S: Final = 1.0
_SIOCGIFMTU, _SIOCGIFHWADDR = 0x8921, 0x8927
_IFREQ: Final = struct.Struct("16s24x")
_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Counters:
    """Packets of a family since the machine started."""

    received: int  # from any interface
    delivered: int  # of them, to this machine's own protocols


def counters(family: int) -> Counters | None:
    """The kernel's counts of this network namespace; None = it would not say."""
    name, received, delivered = (
        ("snmp", "InReceives", "InDelivers")
        if family == 4
        else ("snmp6", "Ip6InReceives", "Ip6InDelivers")
    )
    try:
        lines = (PROC_NET / name).read_text(encoding="ascii").splitlines()
        if family == 6:
            found = dict(line.split() for line in lines)
        else:
            head, values = (line.split() for line in lines if line.startswith("Ip:"))
            found = dict(zip(head, values, strict=True))
        return Counters(int(found[received]), int(found[delivered]))
    except (OSError, ValueError, KeyError):
        return None


def link_facts(interface: str) -> tuple[int | None, int | None]:
    """An interface's MTU and its type as in linux/if_arp.h. Source: netdevice(7)."""
    request = _IFREQ.pack(interface.encode())
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            mtu = fcntl.ioctl(sock, _SIOCGIFMTU, request)
            kind = fcntl.ioctl(sock, _SIOCGIFHWADDR, request)
    except OSError:
        return None, None
    return struct.unpack_from("=i", mtu, 16)[0], struct.unpack_from("=H", kind, 16)[0]


async def loopback_answers(family: int) -> bool:
    """Does a datagram come back over the family's loopback address?"""
    try:
        with socket.socket(_FAMILIES[family], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.bind((_LOOPBACK[family], 0))
            sock.connect(sock.getsockname())
            sock.send(b"back?")
            with trio.move_on_after(_ANSWER_WAIT_S):
                await trio.lowlevel.wait_readable(sock)
                return sock.recv(16) == b"back?"
    except OSError:
        return False
    return False


async def has_error_queue() -> bool:
    """Does a closed loopback port come back as an ICMP error with its sender?"""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
    ):
        try:
            closed.bind((_LOOPBACK[4], 0))
            errqueue.switch_on(sock)
            sock.connect(closed.getsockname())
            closed.close()
            sock.send(b"anybody?")
        except OSError:
            return False
        with trio.move_on_after(_ANSWER_WAIT_S):
            await trio.lowlevel.wait_readable(sock)
        return errqueue.take_icmp(sock) is not None


async def has_send_stamps() -> bool:
    """Is a datagram over loopback stamped as it leaves?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        try:
            stamps.switch_on_both(sock)
            sock.bind((_LOOPBACK[4], 0))
            sock.connect(sock.getsockname())
            sock.send(b"stamp?")
        except OSError:
            return False
        # The datagram itself may arrive before its stamp is queued: read on until that is there.
        with trio.move_on_after(_ANSWER_WAIT_S):
            while True:
                await trio.lowlevel.wait_readable(sock)
                queued = errqueue.take(sock)
                if queued is not None:
                    return queued.stamp_ns is not None
                _take_waiting(sock)
    return False


def _take_waiting(sock: socket.socket) -> None:
    try:
        sock.recv(16)
    except BlockingIOError:
        return


def local_ports() -> int | None:
    """How many ports there are to connect from; None = the kernel would not say."""
    try:
        low, high = map(int, _PORT_RANGE.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None
    return high - low + 1


def free_mib(place: Path) -> float | None:
    """What this user may still write there; None = there is no such place."""
    try:
        found = os.statvfs(place)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize / (1 << 20)


def capabilities() -> int:
    """The effective capabilities; none where /proc does not say."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


def number_in(path: Path) -> int | None:
    """The one number that a file of /proc/sys holds; None = it would not say."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
