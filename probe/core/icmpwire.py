"""Echo requests and replies as bytes, and what a handful of them says about one slot.

On a datagram socket the kernel writes identifier and checksum itself and hands over nothing but
replies to that identifier; the sequence number says which request. A raw socket sees every echo of
the machine: there the identifier is ours to write and a classic BPF program to filter by. In both
cases a token in the payload guards against a sequence number that came round again and against
somebody's guess.

Sources: RFC 792, RFC 1071 (checksum), RFC 4443 section 4; Linux net/ipv4/ping.c, linux/filter.h.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from probe.core.outcome import IcmpError
from proto.model import Failure, StampSource

REQUEST: Final = {4: 8, 6: 128}
REPLY: Final = {4: 0, 6: 129}
TOKEN_BYTES: Final = 8
IDENTS: Final = 65536
SEQUENCES: Final = 65536
# 56 bytes as ping sends: 84 on the wire of IPv4. Whoever captures it can read who asks.
_PAYLOAD_BYTES: Final = 56
_PADDING: Final = b"soundings-probe: reachability measurement (echo)"
_HEADER = struct.Struct("!BBHHH")
_WORDS = struct.Struct(f"!{(_HEADER.size + _PAYLOAD_BYTES) // 2}H")
_WORD = struct.Struct("!H")


class EchoPacket(NamedTuple):
    """What can be read of an echo: whose and which it was, and its token where it came whole."""

    is_reply: bool
    ident: int
    seq: int
    token: bytes


class EchoAnswer(NamedTuple):
    """What became of one request. Silence: no round trip and no failure but a timeout."""

    rtt_us: int | None
    stamp_source: StampSource | None
    failure: Failure | None
    sentence: str
    detail: str = ""
    icmp: IcmpError | None = None
    sent: bool = True  # False: it never left this machine


class EchoSummary(NamedTuple):
    """The figures of a slot's row."""

    sent: int
    lost: int
    failure: Failure | None  # None as soon as one reply came
    icmp: IcmpError | None
    rtt_us_min: int | None
    rtt_us_median: int | None
    rtt_us_max: int | None
    stamp_source: StampSource | None  # the worst of the replies'


def echo_request(family: int, *, seq: int, token: bytes, ident: int | None = None) -> bytes:
    """An echo request. Without `ident` the kernel fills in identifier and checksum.

    With it, as on raw sockets, the checksum of IPv4 is ours; that of IPv6, which covers addresses
    we do not know, is the kernel's even there.
    """
    payload = token + _PADDING
    packet = _HEADER.pack(REQUEST[family], 0, 0, ident or 0, seq) + payload
    if ident is None or family == 6:
        return packet
    return _HEADER.pack(REQUEST[family], 0, _checksum(packet), ident, seq) + payload


def _checksum(packet: bytes) -> int:
    """The complement of the ones' complement sum of the packet's words (RFC 1071)."""
    total: int = sum(_WORDS.unpack(packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def steady_token(secret: bytes, seq: int) -> bytes:
    """A token whose last word makes up for the sequence number: the checksum is always the same.

    Load balancers hash the head of a packet, the checksum with it (RFC 1071: a word and its
    complement add up to nothing). `secret` has two bytes less than a token.
    """
    return secret + _WORD.pack(0xFFFF ^ seq)


def read_echo(data: bytes, family: int) -> EchoPacket | None:
    """An echo reply, or our own request as an ICMP error quotes it; None for anything else."""
    if len(data) < _HEADER.size:
        return None
    kind, _, _, ident, seq = _HEADER.unpack_from(data)
    if kind != REPLY[family] and kind != REQUEST[family]:
        return None
    token = data[_HEADER.size : _HEADER.size + TOKEN_BYTES]
    return EchoPacket(kind == REPLY[family], ident, seq, token)


def without_ip_header(data: bytes) -> bytes:
    """What an IPv4 packet carries, as raw sockets of IPv4 hand it over, header and all."""
    return data[(data[0] & 15) * 4 :] if data else data


# --- The filter of raw sockets --------------------------------------------------------------------

# linux/bpf_common.h: instruction classes, sizes and addressing modes as used below.
_LOAD_HEADER_LENGTH: Final = 0xB1  # LDX | B | MSH: X = 4 * (packet[k] & 15)
_LOAD_X: Final = 0x01  # LDX | W | IMM: X = k
_LOAD_BYTE_AT_X: Final = 0x50  # LD | B | IND: A = packet[X + k]
_LOAD_HALF_AT_X: Final = 0x48  # LD | H | IND
_JUMP_IF_EQUAL: Final = 0x15  # JMP | JEQ | K: skip jt or jf instructions
_RETURN: Final = 0x06  # RET | K: keep k bytes of the packet, 0 = drop it
_INSTRUCTION = struct.Struct("=HBBI")
_IDENT_AT: Final = 4
_WHOLE: Final = 0x40000


def only_replies_to(ident: int, family: int) -> bytes:
    """A classic BPF program that passes echo replies to `ident` alone, as `struct sock_filter`s.

    Without it a raw socket is woken for every ICMP packet of the machine. Errors need not pass:
    the kernel queues them apart (IP_RECVERR).
    """
    start = (_LOAD_HEADER_LENGTH, 0, 0, 0) if family == 4 else (_LOAD_X, 0, 0, 0)
    program = (
        start,
        (_LOAD_BYTE_AT_X, 0, 0, 0),
        (_JUMP_IF_EQUAL, 0, 3, REPLY[family]),
        (_LOAD_HALF_AT_X, 0, 0, _IDENT_AT),
        (_JUMP_IF_EQUAL, 0, 1, ident),
        (_RETURN, 0, 0, _WHOLE),
        (_RETURN, 0, 0, 0),
    )
    return b"".join(_INSTRUCTION.pack(*line) for line in program)


# --- What a slot comes to -------------------------------------------------------------------------


def summarise(answers: Sequence[EchoAnswer]) -> EchoSummary:
    """The row of a slot from the answers to its requests.

    Requests that never left this machine count only when none did: then the slot is a fault of this
    vantage. One reply makes the slot good with partial loss. Without any, the commonest word that
    is more than silence is the slot's word: a router that says why is worth more than the requests
    it swallowed after that, routers being free to limit their errors.
    """
    sent = [answer for answer in answers if answer.sent] or list(answers)
    good = [answer for answer in sent if answer.failure is None]
    rtts = [answer.rtt_us for answer in good if answer.rtt_us is not None]
    decisive = None if good else _decisive(sent)
    return EchoSummary(
        sent=len(sent),
        lost=len(sent) - len(good),
        failure=None if decisive is None else decisive.failure,
        icmp=None if decisive is None else decisive.icmp,
        rtt_us_min=min(rtts, default=None),
        rtt_us_median=_median(rtts) if rtts else None,
        rtt_us_max=max(rtts, default=None),
        stamp_source=_worst(good),
    )


def _median(values: list[int]) -> int:
    """The middle value; of two the mean, rounded. `statistics.median` takes ten times as long."""
    ordered, middle = sorted(values), len(values) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return round((ordered[middle - 1] + ordered[middle]) / 2)


_BEST_FIRST: Final = (StampSource.KERNEL_BOTH, StampSource.KERNEL, StampSource.USER)


def _worst(replies: Sequence[EchoAnswer]) -> StampSource | None:
    """A row's times are no better than its worst stamp; None without replies."""
    ranks = [_BEST_FIRST.index(reply.stamp_source) for reply in replies if reply.stamp_source]
    return _BEST_FIRST[max(ranks)] if ranks else None


def _decisive(answers: Sequence[EchoAnswer]) -> EchoAnswer:
    """The answer that names the slot's failure: the first of the commonest kind, silence last."""
    telling = [answer for answer in answers if answer.failure is not Failure.TIMEOUT]
    if not telling:
        return answers[0]
    word = Counter(answer.failure for answer in telling).most_common(1)[0][0]
    return next(answer for answer in telling if answer.failure is word)
