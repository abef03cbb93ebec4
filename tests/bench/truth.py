"""When packets really left and came, by the kernel's stamps at the vantage's end of the cable.

The stamps are those that tcpdump prints: taken as a packet is handed to the device, and as it comes
from it. (tcpdump itself cannot run in a user namespace, where it fails to change its user.) The
recorder is a ring that the kernel fills by itself and that is read when all is over, so that taking
the truth costs no time of the process that is measured against it.

Source: Linux Documentation/networking/packet_mmap.rst, TPACKET_V2.
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from deploy.lab.namespace import open_socket

_SOL_PACKET: Final = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 5, 6, 10
_TPACKET_V2: Final = 1
_ETH_P_ALL: Final = 3  # one protocol alone would show what comes, not what leaves
_FRAME_BYTES: Final = 160  # Ethernet, IPv4 and TCP with its options, behind the ring's own header
_BLOCK_BYTES: Final = 1 << 17  # a power of two of pages; 160 does not divide it, the rest is unused
_FRAMES_PER_BLOCK: Final = _BLOCK_BYTES // _FRAME_BYTES
_TO_USER: Final = 1
# struct tpacket2_hdr: status, len, snaplen, mac, net, sec, nsec
_HEADER: Final = struct.Struct("=IIIHHII")
_IP: Final = struct.Struct("!BBHHHBBH4s4s")
_ECHO: Final = struct.Struct("!BBHHH")
_TCP: Final = struct.Struct("!HHIIBB")
_ETHERNET_BYTES: Final = 14
_ECHO_REPLY, _ECHO_REQUEST = 0, 8
_SYN, _ACK = 0x02, 0x10


@dataclass(slots=True)
class Exchange:
    """A request and when its reply came; None: it did not."""

    sent_ns: int
    received_ns: int | None = None

    @property
    def us(self) -> float | None:
        """From one to the other."""
        return None if self.received_ns is None else (self.received_ns - self.sent_ns) / 1000


@dataclass(slots=True)
class Connection:
    """The handshake of a connection, and its first question and answer."""

    handshake: Exchange
    syns: int = 1
    asked: Exchange | None = None


@dataclass(slots=True)
class Truth:
    """What passed the cable, by destination and in the order of sending."""

    echoes: defaultdict[str, list[Exchange]] = field(default_factory=lambda: defaultdict(list))
    connections: defaultdict[tuple[str, int], list[Connection]] = field(
        default_factory=lambda: defaultdict(list)
    )


class Recorder:
    """Records the IPv4 packets of one interface until it is read. A context manager."""

    def __init__(self, namespace: int, interface: str, *, packets: int) -> None:
        self._sock = open_socket(namespace, socket.AF_PACKET, socket.SOCK_RAW)
        blocks = -(-packets // _FRAMES_PER_BLOCK)
        frames = blocks * _FRAMES_PER_BLOCK
        ring = struct.pack("=IIII", _BLOCK_BYTES, blocks, _FRAME_BYTES, frames)
        self._sock.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        self._sock.setsockopt(_SOL_PACKET, _PACKET_RX_RING, ring)
        self._frames = frames
        self._ring = mmap.mmap(self._sock.fileno(), blocks * _BLOCK_BYTES)
        self._sock.bind((interface, _ETH_P_ALL))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ring.close()
        self._sock.close()

    def read(self) -> Truth:
        """Everything recorded.

        Raises RuntimeError when the ring was too small and packets are missing.
        """
        raw = self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        dropped = struct.unpack("=II", raw)[1]
        if dropped:
            raise RuntimeError(f"the recorder missed {dropped} packets: give it a larger ring")
        builder = PacketPairs()
        for at_ns, packet in self._packets():
            builder.take(at_ns, packet)
        return builder.truth

    def _packets(self) -> Iterator[tuple[int, bytes]]:
        for number in range(self._frames):
            block, frame = divmod(number, _FRAMES_PER_BLOCK)
            at = block * _BLOCK_BYTES + frame * _FRAME_BYTES
            status, _, snaplen, _, net, sec, nsec = _HEADER.unpack_from(self._ring, at)
            if not status & _TO_USER:
                return
            packet = self._ring[at + net : at + net + snaplen - _ETHERNET_BYTES]
            if packet[0] >> 4 == 4:
                yield sec * 1_000_000_000 + nsec, packet


class PacketPairs:
    """Pairs packets as they come."""

    def __init__(self) -> None:
        self.truth = Truth()
        self._echoes: dict[tuple[bytes, int, int], Exchange] = {}
        self._flows: dict[tuple[bytes, int, int], Connection] = {}

    def take(self, at_ns: int, packet: bytes) -> None:
        first, _, total, _, _, _, protocol, _, source, destination = _IP.unpack_from(packet)
        head = (first & 15) * 4
        if protocol == socket.IPPROTO_ICMP:
            self._icmp(at_ns, packet[head:], source, destination)
        elif protocol == socket.IPPROTO_TCP:
            self._tcp(at_ns, packet[head:], total - head, source, destination)

    def _icmp(self, at_ns: int, content: bytes, source: bytes, destination: bytes) -> None:
        kind, _, _, ident, seq = _ECHO.unpack_from(content)
        if kind == _ECHO_REQUEST:
            exchange = self._echoes[destination, ident, seq] = Exchange(at_ns)
            self.truth.echoes[socket.inet_ntoa(destination)].append(exchange)
        elif kind == _ECHO_REPLY:
            asked = self._echoes.get((source, ident, seq))
            if asked is not None and asked.received_ns is None:
                asked.received_ns = at_ns

    def _tcp(
        self, at_ns: int, content: bytes, size: int, source: bytes, destination: bytes
    ) -> None:
        near, far, _, _, offset, flags = _TCP.unpack_from(content)
        payload = size - (offset >> 4) * 4
        out = self._flows.get((destination, far, near))
        back = self._flows.get((source, near, far))
        if flags & (_SYN | _ACK) == _SYN:
            self._syn(at_ns, out, (destination, far, near))
        elif back is not None:
            _answered(back, at_ns, is_handshake=bool(flags & _SYN), payload=payload)
        elif out is not None and payload and out.asked is None:
            out.asked = Exchange(at_ns)

    def _syn(self, at_ns: int, known: Connection | None, flow: tuple[bytes, int, int]) -> None:
        if known is not None and known.handshake.received_ns is None:
            known.syns += 1
            return
        connection = self._flows[flow] = Connection(Exchange(at_ns))
        key = (socket.inet_ntoa(flow[0]), flow[1])
        self.truth.connections[key].append(connection)


def _answered(connection: Connection, at_ns: int, *, is_handshake: bool, payload: int) -> None:
    if is_handshake:
        connection.handshake.received_ns = connection.handshake.received_ns or at_ns
    elif payload and connection.asked is not None and connection.asked.received_ns is None:
        connection.asked.received_ns = at_ns
