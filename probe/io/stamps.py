"""Stamps by the kernel: when a packet arrived and, where asked for, when one left.

Under load a Python loop looks milliseconds late; the stamp does not move. Two traps. Switching
stamps on is deferred inside the kernel: until that is done, the "stamp" is the moment of our own
read, exactly what it should replace. So we prove it honest with a packet over loopback that is read
late on purpose, and keep one stamped socket open for life, which keeps the switch on. And stamps
are wall-clock: a stamp counts only if it lies between our send and our read by the monotonic clock;
after a clock step it does not, and the user clock is used and named.

Send stamps are for who wants the last microseconds: they come over the error queue, numbered from 0
by the kernel, which costs a system call for each packet sent.

Source: Linux Documentation/networking/timestamping.rst; socket(7).
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterable
from typing import Final, TypeAlias

import trio

from proto.model import StampSource

Ancillary: TypeAlias = Iterable[tuple[int, int, bytes]]

# Python 3.11 does not name it: asm-generic/socket.h, SO_TIMESTAMPNS_OLD (two longs).
SO_TIMESTAMPNS: Final = 35
# SO_TIMESTAMPING_OLD, whose control message has the same number: three timespecs, the first by the
# kernel, the others by the network card.
SO_TIMESTAMPING: Final = 37
_STAMPS: Final = frozenset({SO_TIMESTAMPNS, SO_TIMESTAMPING})
# linux/net_tstamp.h: stamp in software what is sent and what is received, and report it.
_BOTH_WAYS: Final = 0x2 | 0x8 | 0x10
# SOF_TIMESTAMPING_OPT_ID: number the packets sent; OPT_TSONLY: return the stamp without the packet.
_NUMBERED: Final = 0x80 | 0x800
# Room for a stamp, a hop limit and an extended error with an IPv6 sender.
ANCILLARY_BYTES: Final = 256
# Below this share of a packet's lateness a stamp is honest; the packet is read 10 ms late.
_READ_LATE_S: Final = 0.01
_HONEST_NS: Final = 5_000_000
_WARM_UP_TRIES: Final = 50
# A stamp may be this much outside of our own two readings: clock slewing, rounding.
_SLACK_US: Final = 50

_TIMESPEC = struct.Struct("@ll")

now_ns = time.time_ns
"""The clock that kernel stamps are in: only ever compared with a stamp, never stored."""


def switch_on(sock: socket.socket) -> None:
    """Ask for receive stamps; where the kernel has none, the user clock will be used."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise


def switch_on_both(sock: socket.socket) -> None:
    """Ask for stamps of what is received and of what is sent, the latter numbered from 0 anew.

    Raises:
        OSError: this kernel or this kind of socket has none.
    """
    # The kernel starts the numbers again only where they were off before.
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, _BOTH_WAYS)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, _BOTH_WAYS | _NUMBERED)


def read_stamp(ancillary: Ancillary) -> int | None:
    """The stamp in nanoseconds, if the kernel gave one."""
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind in _STAMPS and len(content) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(content)
            # Zeros: stamped by the network card alone.
            return (seconds * 1_000_000_000 + nanoseconds) or None
    return None


def round_trip(
    *, sent_ns: int, stamp_ns: int | None, elapsed_us: int, sent_stamp_ns: int | None = None
) -> tuple[int, StampSource]:
    """The round trip in microseconds, and the clock it rests on.

    A stamp outside of the span between our own two readings is a clock step or a cold kernel, or
    belongs to another packet.

    Args:
        sent_ns: the wall clock right before the send.
        stamp_ns: when the kernel received the answer.
        elapsed_us: from the send to our read by the monotonic clock.
        sent_stamp_ns: when the kernel sent the packet.
    """
    if stamp_ns is not None:
        rtt_us = (stamp_ns - sent_ns) // 1000
        if 0 <= rtt_us <= elapsed_us + _SLACK_US:
            if sent_stamp_ns is not None and sent_ns <= sent_stamp_ns <= stamp_ns:
                return (stamp_ns - sent_stamp_ns) // 1000, StampSource.KERNEL_BOTH
            return rtt_us, StampSource.KERNEL
    return elapsed_us, StampSource.USER


async def warm_up(sock: socket.socket) -> bool:
    """Make the kernel's stamps honest; `sock` must stay open for as long as they are needed.

    Returns False where they never become so (no loopback, or a kernel without them).

    Args:
        sock: a non-blocking UDP socket that nobody else uses.
    """
    try:
        switch_on(sock)
        sock.bind(("127.0.0.1" if sock.family == socket.AF_INET else "::1", 0))
        sock.connect(sock.getsockname())  # nobody else's packets are let in
        for _ in range(_WARM_UP_TRIES):
            if await _is_honest(sock):
                return True
    except OSError:
        return False
    return False


async def _is_honest(sock: socket.socket) -> bool:
    sent_ns = now_ns()
    sock.send(b"stamp?")
    await trio.sleep(_READ_LATE_S)
    await trio.lowlevel.wait_readable(sock)
    _, ancillary, _, _ = sock.recvmsg(16, ANCILLARY_BYTES)
    stamp = read_stamp(ancillary)
    return stamp is not None and stamp - sent_ns < _HONEST_NS
