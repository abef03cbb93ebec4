"""Release held packets when their time has come: the process behind `deploy.lab.delay`.

    python delay_loop.py QUEUE FD...

Prints "holding" once it listens. Each FD is a bound NFQUEUE socket of one namespace. The kernel sends a packet's number and its mark,
the microseconds to wait; the answer is a verdict per packet, as many in one send as are due. Until
killed. Standard library only and run by its path, so that it starts in a few hundredths of a second.

Layouts: linux/netfilter/nfnetlink_queue.h.
"""

from __future__ import annotations

import heapq
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Final

_PACKET_HEADER, _MARK = 1, 3
_ATTRIBUTES_AT: Final = 20  # after the netlink header and the netfilter header
_READ_BYTES: Final = 4096
_IDLE_S: Final = 10.0
_SUBSYSTEM_QUEUE, _MESSAGE_VERDICT, _VERDICT_ATTRIBUTE, _ACCEPT = 3, 1, 2, 1


def parse(message: bytes) -> tuple[bytes, int]:
    """(packet number as it came, mark) of one message from the kernel."""
    number, mark = b"", 0
    offset = _ATTRIBUTES_AT
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if kind == _PACKET_HEADER:
            number = message[offset + 4 : offset + 8]
        elif kind == _MARK:
            mark = int.from_bytes(message[offset + 4 : offset + 8], "big")
        offset += (length + 3) & ~3 or 4
    return number, mark


def verdict(queue: int, number: bytes) -> bytes:
    """The message that lets a packet go."""
    kind = _SUBSYSTEM_QUEUE << 8 | _MESSAGE_VERDICT
    header = struct.pack("=IHHII", 32, kind, 1, 0, 0) + struct.pack("!BBH", 0, 0, queue)
    body = struct.pack("=HH", 12, _VERDICT_ATTRIBUTE) + struct.pack("!I", _ACCEPT) + number
    return header + body


def serve(queue: int, sockets: list[socket.socket]) -> None:
    """Hold and release for ever."""
    waiting: list[tuple[float, int, int, bytes]] = []  # due, order of arrival, socket, packet
    arrivals = 0
    by_descriptor = {each.fileno(): each for each in sockets}
    while True:
        now = time.monotonic()
        pause_s = max(0.0, waiting[0][0] - now) if waiting else _IDLE_S
        readable, _, _ = select.select(by_descriptor, [], [], pause_s)
        now = time.monotonic()
        for descriptor in readable:
            for number, mark in _pending(by_descriptor[descriptor]):
                arrivals += 1
                heapq.heappush(waiting, (now + mark / 1e6, arrivals, descriptor, number))
        due: dict[int, list[bytes]] = {}
        while waiting and waiting[0][0] <= now:
            _, _, descriptor, number = heapq.heappop(waiting)
            due.setdefault(descriptor, []).append(verdict(queue, number))
        for descriptor, verdicts in due.items():
            by_descriptor[descriptor].send(b"".join(verdicts))


def _pending(channel: socket.socket) -> Iterator[tuple[bytes, int]]:
    while True:
        try:
            yield parse(channel.recv(_READ_BYTES))
        except BlockingIOError:
            return


def main(argv: list[str]) -> None:
    """Take over the sockets named on the command line."""
    sockets = [socket.socket(fileno=int(descriptor)) for descriptor in argv[1:]]
    for each in sockets:
        each.setblocking(False)
    print("holding", flush=True)
    serve(int(argv[0]), sockets)


if __name__ == "__main__":
    main(sys.argv[1:])
