"""What the probe's bench holds against each other: packets as recorded, rows, and peers' words."""

from __future__ import annotations

import socket
import struct

from tests.bench.accuracy import compare
from tests.bench.echo_peers import errors_us, fping_said, ping_said
from tests.bench.truth import PacketPairs, Truth
from tests.bench.workload import Clock, Findings, Kept, Workload, mixed

NEAR, FAR = "10.63.0.1", "10.64.0.1"
SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10


def ip(protocol: int, source: str, destination: str, content: bytes) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0, 64, protocol, 0)
    return head + addresses + content


def echo(source: str, destination: str, *, kind: int, seq: int) -> bytes:
    return ip(socket.IPPROTO_ICMP, source, destination, struct.pack("!BBHHH", kind, 0, 0, 7, seq))


def out(flags: int, payload: bytes = b"") -> bytes:
    segment = struct.pack("!HHIIBBHHH", 4000, 80, 0, 0, 0x50, flags, 0, 0, 0) + payload
    return ip(socket.IPPROTO_TCP, NEAR, FAR, segment)


def back(flags: int, payload: bytes = b"") -> bytes:
    segment = struct.pack("!HHIIBBHHH", 80, 4000, 0, 0, 0x50, flags, 0, 0, 0) + payload
    return ip(socket.IPPROTO_TCP, FAR, NEAR, segment)


def recorded(*packets: tuple[int, bytes]) -> Truth:
    pairs = PacketPairs()
    for at_us, packet in packets:
        pairs.take(at_us * 1000, packet)
    return pairs.truth


def row(**known: int | str | None) -> Kept:
    fields = {
        "address": FAR,
        "port": None,
        "started_at_us": 0,
        "slot_at_us": 0,
        "failure": None,
        "reason": None,
        "validity": "ok",
        "sent": 1,
        "rtt_us": None,
        "first_byte_us": None,
        "lateness_us": 0,
        "stamp_source": "kernel",
    }
    return tuple({**fields, **known}.values())


def found(*rows: Kept) -> Findings:
    return Findings(from_us=0, to_us=10_000_000, cpu_s=1.0, rss_bytes=1, kept=list(rows))


def test_a_reply_belongs_to_the_request_with_its_number() -> None:
    """Echo replies that overtake each other are paired by sequence number; the missing stay open."""
    truth = recorded(
        (0, echo(NEAR, FAR, kind=8, seq=1)),
        (10, echo(NEAR, FAR, kind=8, seq=2)),
        (20, echo(NEAR, FAR, kind=8, seq=3)),
        (50, echo(FAR, NEAR, kind=0, seq=2)),
        (70, echo(FAR, NEAR, kind=0, seq=1)),
    )
    assert [one.us for one in truth.echoes[FAR]] == [70.0, 40.0, None]


def test_a_connection_has_a_handshake_and_a_first_answer() -> None:
    """Handshake: SYN to SYN and ACK; first byte: first payload out to first payload back."""
    truth = recorded(
        (0, out(SYN)),
        (30, back(SYN_ACK)),
        (40, out(ACK)),
        (100, out(ACK, b"GET /")),
        (110, back(ACK)),
        (180, back(ACK, b"HTTP/1.1")),
        (190, back(ACK, b"more")),
    )
    (connection,) = truth.connections[FAR, 80]
    assert connection.handshake.us == 30.0
    assert connection.asked is not None
    assert connection.asked.us == 80.0
    assert connection.syns == 1


def test_a_syn_that_was_sent_again_is_counted() -> None:
    """A handshake with a repeated SYN has no round trip that anybody could be held to."""
    truth = recorded((0, out(SYN)), (1_000_000, out(SYN)), (1_000_030, back(SYN_ACK)))
    (connection,) = truth.connections[FAR, 80]
    assert connection.syns == 2
    rows = found(row(port=80, rtt_us=30))
    assert compare(rows, truth)["tcp"] == []


def test_a_row_is_held_against_the_packets_nearest_to_its_start() -> None:
    """Of two slots of one target each row is compared with its own packets, and failures with none."""
    truth = recorded(
        (100, echo(NEAR, FAR, kind=8, seq=1)),
        (140, echo(FAR, NEAR, kind=0, seq=1)),
        (9_000_100, echo(NEAR, FAR, kind=8, seq=2)),
        (9_000_190, echo(FAR, NEAR, kind=0, seq=2)),
    )
    rows = found(
        row(rtt_us=45),
        row(started_at_us=9_000_000, rtt_us=92),
        row(started_at_us=5_000_000, rtt_us=1),
        row(failure="timeout", rtt_us=None),
    )
    assert compare(rows, truth)["icmp"] == [5.0, 2.0]


def test_what_fping_and_ping_print_is_read_per_packet() -> None:
    """The how-many-eth echo to whom, in microseconds, held against the packet of that number."""
    truth = recorded(
        (0, echo(NEAR, FAR, kind=8, seq=1)),
        (20, echo(FAR, NEAR, kind=0, seq=1)),
        (100, echo(NEAR, FAR, kind=8, seq=2)),
        (140, echo(FAR, NEAR, kind=0, seq=2)),
    )
    fping = fping_said(
        f"{FAR} : [0], 64 bytes, 0.025 ms (0.025 avg, 0% loss)\n"
        f"{FAR} : [1], 64 bytes, 0.041 ms (0.033 avg, 0% loss)\n"
        f"\n{FAR} : xmt/rcv/%loss = 2/2/0%, min/avg/max = 0.025/0.033/0.041\n"
    )
    ping = ping_said(FAR, f"64 bytes from {FAR}: icmp_seq=2 ttl=64 time=0.050 ms\n")
    assert [round(us) for us in errors_us(fping, truth)] == [5, 1]
    assert [round(us) for us in errors_us(ping, truth)] == [10]


def test_a_workload_is_exactly_what_was_asked_for() -> None:
    """Shares, rate and a target of its own for each check; and it survives the way to the vantage."""
    work = Workload(per_s=mixed(100), seconds=2, interval_s=2, clock=Clock.USER)
    checks = work.checks()
    assert [check.check_no for check in checks] == list(range(200))
    assert sum(check.kind == "icmp" for check in checks) == 100
    assert sum(check.use_tls for check in checks) == 40
    assert len({check.pinned or check.host for check in checks}) == 200
    assert Workload.from_json(work.as_json()) == work
